"""A running Triton, as an agent needs it: what is loaded, load, unload, ask.

Models are loaded through gRPC: over HTTP a load holds one of the server's eight HTTP threads for as
long as it takes, and with it every client whose connection that thread has (seen on 24.10: 7 of 40
connections stood still for all of an 8 s load; none through gRPC).
"""

from __future__ import annotations

import importlib
import json
import time
from typing import TYPE_CHECKING, Any, NoReturn

from builder.errors import MissingError
from builder.servers.endpoint import (
    CONTROL,
    CONTROL_KEY,
    Access,
    Endpoint,
    RefusedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.triton.probe import Probe

PROMPT = 5.0
"""Seconds for what the server answers at once, if it answers."""

READY = "READY"
UNAVAILABLE = "UNAVAILABLE"
"""States of a version: served, and not."""
BUSY = 30.0
"""Seconds that a probe is sent again where queues are full or requests wait too long."""
ASKED = 3
"""How often a probe is asked before its answer counts as wrong: in a batch with others' requests it
may be a little further off."""
PAUSE = 0.1

NOBODY = "triton-builder.nobody"
"""A name that no model has."""
NOT_EXPLICIT = "explicit model load / unload is not allowed"
"""What a server of another mode says."""
RESTRICTED = "is restricted, expecting header"
"""What one says that asks for a key."""

SERVICE = "inference.GRPCInferenceService"
GRPC_PREFIX = "triton-grpc-protocol-"
"""Before the name of a header that a server asks for, where it comes by gRPC."""
STATUSES: Mapping[str, int] = {"INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "UNAVAILABLE": 503}
"""The HTTP status that says about the same as a gRPC code; 500 for others."""


class HangingError(Exception):
    """A load has not ended in time, and the server lives: it cannot be called off."""


class Triton:
    """One server in explicit mode.

    Args:
        http: its HTTP address, `host:port`.
        grpc: its gRPC address; None to load over HTTP as well.
        control: the key that it asks for of whoever loads and unloads, if it does.

    Raises:
        MissingError: gRPC is asked for, and grpcio is not installed.
    """

    def __init__(self, http: str, grpc: str | None, control: str | None = None) -> None:
        self.endpoint = Endpoint(http, Access(control=control))
        self._grpc = grpc
        self._key = control
        if grpc:
            _library()

    def version(self) -> str:
        """The server's version.

        Raises:
            UnreachableError: nobody answers. So do all methods.
        """
        body, _ = self.endpoint.call("GET", "/v2", timeout=PROMPT)
        return str(json.loads(body).get("version"))

    def live(self) -> bool:
        """Whether it answers at all."""
        try:
            self.endpoint.call("GET", "/v2/health/live", timeout=PROMPT)
        except (UnreachableError, RefusedError):
            return False
        return True

    def index(self) -> Mapping[str, Mapping[int, str]]:
        """The state of every version that it has had to do with: model → number → READY.

        Raises:
            MissingError: the server asks for a key that we have not.
        """
        try:
            body, _ = self.endpoint.call("POST", "/v2/repository/index", timeout=PROMPT)
        except RefusedError as e:
            self._asks_for_a_key(e)
            raise
        found: dict[str, dict[int, str]] = {}
        for entry in json.loads(body):
            if entry.get("version"):
                found.setdefault(entry["name"], {})[int(entry["version"])] = entry.get("state", "")
        return found

    def load(self, model: str, within: float) -> None:
        """Loads a model as it lies in the repository now, warm-up included.

        Raises:
            RefusedError: the server does not load it; what it had of it is served on.
            HangingError: it is at it still.
            UnreachableError: it died.
        """
        self._control("Load", model, within)

    def unload(self, model: str) -> None:
        """Has a model unloaded, in the background.

        Raises:
            RefusedError: the server does not.
            HangingError: it does not answer, as while the model is being loaded.
            UnreachableError: it died.
        """
        self._control("Unload", model, PROMPT)

    def differs(self, probe: Probe, within: float) -> str | None:
        """Asks a probe, again where the server is busy; what is wrong with the answer.

        Raises:
            RefusedError: the server refuses it, otherwise than for being busy.
            UnreachableError: no answer.
        """
        patience, left = time.monotonic() + BUSY, ASKED
        while True:
            try:
                reason = self.endpoint.differs(probe, within)
                left -= 1
                if reason is None or left == 0:
                    return reason
            except RefusedError as refusal:
                if not refusal.busy or time.monotonic() > patience:
                    raise
            time.sleep(PAUSE)

    def check(self) -> None:
        """Sees that models can be loaded.

        Raises:
            MissingError: the server is not in explicit mode, asks for a key that we have not, or
                its gRPC port does not answer, though its HTTP port does.
        """
        try:
            self.unload(NOBODY)
        except RefusedError as e:
            if e.message.startswith(NOT_EXPLICIT):
                raise MissingError(
                    "the server is not in explicit mode",
                    where=self.endpoint.address,
                    found=e.message,
                    fix="start it with --model-control-mode=explicit --load-model=*",
                ) from e
            self._asks_for_a_key(e)
        except UnreachableError as e:
            if self._grpc is None or not self.live():
                raise
            raise MissingError(
                "the server's gRPC port does not answer",
                where=self._grpc,
                found=str(e),
                fix="say where it is, --grpc HOST:PORT; or give --grpc '' to load models over "
                "HTTP, where a load holds up an eighth of the server's HTTP clients",
            ) from e

    def _asks_for_a_key(self, refusal: RefusedError) -> None:
        if RESTRICTED in refusal.message:
            raise MissingError(
                "the server asks for a key of whoever loads models",
                where=self.endpoint.address,
                found=f"{CONTROL_KEY} is {'another one' if self._key else 'not set'}",
                expected=f"the value of `{CONTROL}` in its --grpc-restricted-protocol and "
                "--http-restricted-api",
                fix=f"set {CONTROL_KEY} to it",
            ) from refusal

    def _control(self, verb: str, model: str, within: float) -> None:
        try:
            if self._grpc is None:
                path = f"/v2/repository/models/{model}/{verb.lower()}"
                self.endpoint.call("POST", path, timeout=within)
            else:
                key = [(f"{GRPC_PREFIX}{CONTROL}", self._key)] if self._key else []
                _call(self._grpc, f"RepositoryModel{verb}", _named(model), within, key)
        except UnreachableError as e:
            if not isinstance(e.__cause__, TimeoutError):
                raise
            self._hangs(e, within)
        except TimeoutError as e:
            self._hangs(e, within)

    def _hangs(self, error: Exception, within: float) -> NoReturn:
        if self.live():
            raise HangingError(f"no end of it after {within:g} s") from error
        raise UnreachableError(f"no answer in {within:g} s") from error


def _refuses(said: str) -> bool:
    """Whether a server that calls itself unavailable means that it will not."""
    return said.startswith(NOT_EXPLICIT) or RESTRICTED in said


def _library() -> Any:
    try:
        return importlib.import_module("grpc")
    except ModuleNotFoundError as e:
        raise MissingError(
            "the package `grpcio` is not installed",
            fix="pip install 'triton-builder[agent]'; or give --grpc '' to load models over HTTP, "
            "where a load holds up an eighth of the server's HTTP clients",
        ) from e


def _named(model: str) -> bytes:
    """The message of both calls, written by hand: its only field is 2, model_name."""
    name = model.encode()
    low, high = len(name) & 0x7F, len(name) >> 7
    return b"\x12" + bytes([low | 0x80, high] if high else [low]) + name


def _call(
    address: str, verb: str, message: bytes, within: float, metadata: list[tuple[str, str]]
) -> None:
    """One call, on a connection of its own: one that failed is not tried again for a while.

    Raises:
        TimeoutError: no end of it in `within` seconds.
        UnreachableError: nobody answers, or no longer.
        RefusedError: the server refuses.
    """
    grpc = _library()
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        try:
            channel.unary_unary(f"/{SERVICE}/{verb}")(message, timeout=within, metadata=metadata)
        except grpc.RpcError as e:
            code, said = e.code(), e.details() or ""
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError(said) from e
            if code is grpc.StatusCode.UNAVAILABLE and not _refuses(said):
                raise UnreachableError(f"{address}: {said}") from e
            raise RefusedError(STATUSES.get(code.name, 500), said) from e
