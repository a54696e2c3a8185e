"""The one way to a live server: tritonclient over gRPC and HTTP, its errors translated.

A server that says no raises `RefusedError`, which checks may expect. Arrays go in and come
out in the shapes that travel; `case.py` knows the spec's.
"""

from __future__ import annotations

import os
import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from builder.servers.endpoint import Access

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    import numpy as np

    from builder.servers.server import Server, Upload

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

Protocol = Literal["grpc", "http"]

CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]
"""How gRPC connects: without $http_proxy, which tritonclient's HTTP does not mind either. Where
one is set it is for the world outside, and seldom reaches a server of this machine."""

PATIENCE = 60.0
"""Seconds for one inference: far more than any takes, so that a hung stub is found out."""
PROMPT = 10.0
"""Seconds for being alive: it takes a millisecond."""
TICK = 0.01
LOADING = 300.0
"""Seconds for a model's load, warm-up included."""


class RefusedError(Exception):
    """The server answered with an error: a status (`INVALID_ARGUMENT`, `400`) and a message."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message

    @property
    def late(self) -> bool:
        """Whether the request waited longer than its queue timeout."""
        return "timeout expired" in self.message.lower()


@dataclass(frozen=True)
class Answer:
    """What an inference gave: outputs by name, and the version that answered."""

    outputs: Arrays
    version: str


class Client:
    """Both protocols of one server; a context manager that closes them.

    Args:
        grpc: the server's gRPC address, `host:port`.
        http: its HTTP address, `host:port`.
        access: what both ask of whoever connects.
    """

    def __init__(self, grpc: str, http: str, access: Access = Access()) -> None:  # noqa: B008 - a value
        import tritonclient.grpc
        import tritonclient.http

        authorities = os.environ.get("SSL_CERT_FILE")
        self._modules = {"grpc": tritonclient.grpc, "http": tritonclient.http}
        self._grpc = tritonclient.grpc.InferenceServerClient(
            grpc, ssl=access.tls, root_certificates=authorities, channel_args=CHANNEL
        )
        self._http = tritonclient.http.InferenceServerClient(
            http,
            network_timeout=PATIENCE,
            connection_timeout=PATIENCE,
            ssl=access.tls,
            ssl_options={"ca_certs": authorities} if authorities else None,
        )
        if access.token:
            for client in (self._grpc, self._http):
                client.register_plugin(_bearer(access.token))

    @classmethod
    def of(cls, server: Server) -> Self:
        """One for a server."""
        return cls(server.grpc, server.http, server.access)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._grpc.close()
        self._http.close()

    def live(self) -> bool:
        """Whether the server itself answers."""
        try:
            return bool(self._call(self._grpc.is_server_live, client_timeout=PROMPT))
        except RefusedError:
            return False

    def load(self, model: str, upload: Upload | None = None) -> None:
        """Loads (or loads anew) every version that the model's policy names.

        Args:
            model: which model.
            upload: its files, where the server has not got them.
        """
        sent = (
            {} if upload is None else {"config": _as_json(upload.config), "files": _named(upload)}
        )
        self._call(self._grpc.load_model, model, client_timeout=LOADING, **sent)

    def unload(self, model: str) -> None:
        """Unloads all of its versions; the server does so in the background."""
        self._call(self._grpc.unload_model, model)

    def await_unloaded(self, model: str) -> None:
        """Waits until an unload is over, and nothing of the model is left.

        Raises:
            RefusedError: it takes too long.
        """
        deadline = time.monotonic() + LOADING
        while self._state(model) & {"READY", "UNLOADING", "LOADING"}:
            if time.monotonic() > deadline:
                raise RefusedError("", f"{model} is not unloaded after {LOADING:g} s")
            time.sleep(TICK)

    def _state(self, model: str) -> set[str]:
        """The states of its versions, as the server's repository has them."""
        index = self._call(self._grpc.get_model_repository_index, client_timeout=PROMPT)
        return {one.state for one in index.models if one.name == model}

    def ready(self, model: str, version: int) -> bool:
        """Whether the version answers."""
        return bool(self._call(self._grpc.is_model_ready, model, str(version)))

    def config(self, model: str) -> Any:
        """The `ModelConfig` that is served."""
        return self._call(self._grpc.get_model_config, model).config

    def metadata(self, model: str, version: int | None = None) -> dict[str, Any]:
        """Metadata over HTTP: `inputs`, `outputs`; and, asked for no version, all `versions`."""
        asked = "" if version is None else str(version)
        found = self._call(self._http.get_model_metadata, model, asked)
        return dict(found)

    def statistics(self, model: str, version: int) -> Any:
        """The version's `ModelStatistics`, counted since it was loaded."""
        return self._call(self._grpc.get_inference_statistics, model, str(version)).model_stats[0]

    def infer(  # noqa: PLR0913 - what a request consists of
        self,
        model: str,
        inputs: Arrays,
        *,
        version: int | None = None,
        protocol: Protocol = "grpc",
        outputs: Sequence[str] = (),
        binary: bool = True,
        timeout_us: int | None = None,
    ) -> Answer:
        """One inference, waited for.

        Args:
            model: which model.
            inputs: arrays by input name; strings are object arrays of bytes.
            version: which version; None leaves it to the policy.
            protocol: how to ask.
            outputs: which outputs to ask for; all of them where empty.
            binary: False sends and asks for JSON, over HTTP only.
            timeout_us: the queue timeout of this request.

        Raises:
            RefusedError: the server answered with an error.
        """
        module = self._modules[protocol]
        extra = {"binary_data": binary} if protocol == "http" else {}
        wanted = [module.InferRequestedOutput(name, **extra) for name in outputs] or None
        if wanted is None and not binary:
            raise ValueError("JSON answers need the outputs by name")
        result = self._call(
            (self._http if protocol == "http" else self._grpc).infer,
            model,
            _tensors(module, inputs, extra),
            model_version="" if version is None else str(version),
            outputs=wanted,
            timeout=timeout_us,
            **({} if protocol == "http" else {"client_timeout": PATIENCE}),
        )
        return _answer(result)

    def burst(
        self,
        model: str,
        requests: Sequence[Arrays],
        *,
        version: int | None = None,
        timeouts_us: Sequence[int | None] | None = None,
    ) -> list[Answer | RefusedError]:
        """Sends all requests at once over gRPC; gives answers and refusals in their order.

        Args:
            model: which model.
            requests: the inputs of each.
            version: which version; None leaves it to the policy.
            timeouts_us: the queue timeout of each; None for none at all.
        """
        module = self._modules["grpc"]
        ready = [_tensors(module, request, {}) for request in requests]
        limits = timeouts_us or [None] * len(ready)
        arrived: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
        for place, (tensors, limit) in enumerate(zip(ready, limits, strict=True)):
            self._call(
                self._grpc.async_infer,
                model,
                tensors,
                lambda result, error, place=place: arrived.put((place, result, error)),
                model_version="" if version is None else str(version),
                timeout=limit,
                client_timeout=PATIENCE,
            )
        outcomes: dict[int, Answer | RefusedError] = {}
        for _ in ready:
            try:
                place, result, error = arrived.get(timeout=2 * PATIENCE)
            except queue.Empty as nothing:
                raise RefusedError("unanswered", f"no answer in {2 * PATIENCE:g} s") from nothing
            outcomes[place] = _refused(error) if error is not None else _answer(result)
        return [outcomes[place] for place in range(len(ready))]

    def _call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return method(*args, **kwargs)
        except InferenceServerException as error:
            raise _refused(error) from error
        except OSError as error:  # what the HTTP client lets through
            raise RefusedError("unreachable", str(error)) from error


def _as_json(config: str) -> str:
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    parsed = text_format.Parse(config, model_config_pb2.ModelConfig())
    return str(json_format.MessageToJson(parsed, preserving_proto_field_name=True))


def _named(upload: Upload) -> dict[str, bytes]:
    return {f"file:{path}": content for path, content in upload.files.items()}


def _bearer(token: str) -> Any:
    """Has a client of tritonclient say a token with every request."""
    from tritonclient.grpc import InferenceServerClientPlugin

    class Bearer(InferenceServerClientPlugin):  # type: ignore[misc]
        def __call__(self, request: Any) -> None:
            request.headers["authorization"] = f"Bearer {token}"

    return Bearer()


def _tensors(module: Any, arrays: Arrays, extra: dict[str, bool]) -> list[Any]:
    from tritonclient.utils import np_to_triton_dtype

    tensors = []
    for name, array in arrays.items():
        text = array.dtype.kind in "OSU"
        dtype = "BYTES" if text else np_to_triton_dtype(array.dtype)
        tensor = module.InferInput(name, list(array.shape), dtype)
        tensor.set_data_from_numpy(array.astype(object) if text else array, **extra)
        tensors.append(tensor)
    return tensors


def _answer(result: Any) -> Answer:
    response = result.get_response()
    if isinstance(response, dict):
        names = [output["name"] for output in response.get("outputs", [])]
        version = response.get("model_version", "")
    else:
        names, version = [output.name for output in response.outputs], response.model_version
    return Answer({name: result.as_numpy(name) for name in names}, version)


def _refused(error: Any) -> RefusedError:
    status = str(error.status() or "").removeprefix("StatusCode.")
    return RefusedError(status, str(error.message() or error).strip())
