"""A Triton that somebody else runs: asked over the network, and left as it was found.

Models that it serves already are asked as they are. Others it loads where it is in explicit mode,
by one of three ways: from a folder that it and we both see, from its own repository, or sent with
the request. What was loaded for us is unloaded afterwards.

Sent with the request, on 24.10: warm-up data and versions come along; an ensemble is refused ("not
found in any model repository"), since its members are looked for in the repositories alone.
"""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from builder.errors import InputError, MissingError, WorkFailedError
from builder.files import disk_errors, link_or_copy, remove_tree
from builder.servers import metrics, version
from builder.servers.endpoint import Access, Endpoint, RefusedError, UnreachableError
from builder.servers.reach import addresses
from builder.servers.server import Control, Upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.servers.gpus import Gpu
    from builder.servers.reach import Reach
    from builder.triton.releases import Release

CONFIG = "config.pbtxt"
MOST = (2 << 30) - (1 << 20)
"""Bytes that one message of gRPC holds, with room for the rest of it."""

PROMPT = 10.0
"""Seconds for what a server answers at once."""
UNLOADED = 30.0
"""Seconds that a model may take to be gone."""
TICK = 0.05

NOT_EXPLICIT = "explicit model load / unload is not allowed"
"""What a server of another mode says."""


class RemoteServer:
    """A running server; as a context manager it looks at it, and in the end puts it back.

    Args:
        reach: how it is reached.
        repositories: folders of models; what it does not have of them, it is sent.
        release: what it must be.

    Raises:
        InputError: an address is none.
        MissingError: nobody answers there.
        WorkFailedError: it is of another release.
    """

    def __init__(
        self,
        reach: Reach,
        repositories: Sequence[Path],
        release: Release,
    ) -> None:
        self.http, self.grpc, tls = addresses(reach.urls)
        self.access = Access(tls, reach.token)
        self.control = Control()
        self.release = release.name
        self._expected = release
        self._shared = reach.shared
        self._endpoint = Endpoint(self.http, self.access)
        self._models = {
            folder.name: folder
            for repository in repositories
            for folder in sorted(repository.iterdir())
            if (folder / CONFIG).is_file()
        }
        self._metered = True
        self._stack = ExitStack()

    @property
    def name(self) -> str:
        """See `Server`; without its address, which is no property of what was proven."""
        return f"tritonserver {self._expected.server} ({self.release}), remote"

    @property
    def metrics(self) -> str:
        """See `Server`; as a rule, nobody knows whether that port can be reached."""
        host, _, port = self.grpc.rpartition(":")
        return f"{host}:{int(port) + 1}"

    def alive(self) -> bool:
        """See `Server`."""
        try:
            self._endpoint.call("GET", "/v2/health/live", timeout=PROMPT)
        except (UnreachableError, RefusedError):
            return False
        return True

    def ended(self) -> str:
        """See `Server`."""
        return "unknown"

    def log(self) -> str:
        """See `Server`: what it prints is elsewhere."""
        return ""

    def memory(self) -> int:
        """See `Server`: nobody can tell, so 0."""
        return 0

    def gpus(self) -> Sequence[Gpu]:
        """See `Server`; told by its metrics, where they can be reached."""
        return metrics.gpus_now(self.metrics) if self._metered else ()

    def shortage(self) -> str | None:
        """See `Server`."""
        return None

    def gpu_memory(self) -> int | None:
        """See `Server`; where its metrics cannot be reached, it is not asked again."""
        if not self._metered:
            return None
        found = metrics.gpu_memory_now(self.metrics, metrics.UNTOLD)
        self._metered = found is not None
        return found

    def __enter__(self) -> Self:
        self._check_release()
        served, known = self._index()
        loads = self._loads()
        with self._stack as stack:
            if loads:
                mine = self._models.keys() - served
                stack.callback(self._unload, mine)
                if self._shared:
                    self._share(self._shared, mine, stack)
                    known |= mine
            self.control = Control(
                loads=loads,
                served=frozenset(served & self._models.keys()),
                upload=lambda model: None if model in known else self._upload(model),
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- looking at it -----------------------------------------------------------------

    def _check_release(self) -> None:
        try:
            other = version.other(version.told(self._call("GET", version.PATH)), self._expected)
        except ValueError as e:
            raise self._no_triton(version.PATH, e) from e
        if other:
            raise WorkFailedError(
                "the server is not of the target's release",
                where=self.http,
                fix="validate on a server of that release, or set the target's `triton` to the "
                "server's (triton-builder releases --triton shows both)",
                **other,
            )

    def _index(self) -> tuple[set[str], set[str]]:
        """The models that are served, and all that are in its repository."""
        rows = json.loads(self._call("POST", "/v2/repository/index"))
        ready = {row["name"] for row in rows if row.get("state") == "READY"}
        # what was sent with its load is in no repository, and so not in the index
        ready |= {model for model in self._models if self._ready(model)}
        return ready, {row["name"] for row in rows}

    def _loads(self) -> bool:
        """Whether it loads on request: asked by unloading what nobody has."""
        nobody = f"triton-builder-{secrets.token_hex(6)}"
        try:
            self._endpoint.call(
                "POST", f"/v2/repository/models/{nobody}/unload", b"{}", timeout=PROMPT
            )
        except RefusedError as e:
            return not e.message.startswith(NOT_EXPLICIT) and e.status not in {401, 403, 404}
        except UnreachableError as e:
            raise self._unreachable(e) from e
        return True

    def _ready(self, model: str) -> bool:
        try:
            self._endpoint.call("GET", f"/v2/models/{model}/ready", timeout=PROMPT)
        except (RefusedError, UnreachableError):
            return False
        return True

    def _call(self, method: str, path: str) -> bytes:
        try:
            body, _ = self._endpoint.call(method, path, timeout=PROMPT)
        except UnreachableError as e:
            raise self._unreachable(e) from e
        except RefusedError as e:
            if e.status not in {401, 403}:
                raise self._no_triton(path, e) from e
            raise MissingError(
                "the server does not let us in",
                where=self.http,
                found=f"{path}: {e}",
                expected="a token that it takes",
                fix="set TRITON_BUILDER_SERVER_TOKEN to one",
            ) from e
        return body

    def _no_triton(self, path: str, error: Exception) -> MissingError:
        return MissingError(
            "it is no Triton",
            where=self.http,
            found=f"{path}: {error}",
            expected="a Triton server's HTTP port",
            fix="correct the address",
        )

    def _unreachable(self, error: UnreachableError) -> MissingError:
        return MissingError(
            "the server does not answer",
            where=self.http,
            found=error,
            expected="a live Triton server's HTTP port",
            fix="start it, or correct the address; where its ports are not neighbours, give both: "
            "--url http://HOST:8000 --url grpc://HOST:8001",
        )

    # --- giving it models, and taking them away ----------------------------------------

    def _share(self, shared: Path, models: set[str], stack: ExitStack) -> None:
        """Puts models into the folder that it loads from.

        Raises:
            InputError: there is none, or it has a folder of such a name.
        """
        if not shared.is_dir():
            raise InputError(
                "the folder that the server loads from is not here",
                where=str(shared),
                expected="a folder that both see",
                fix="mount it, or unset TRITON_BUILDER_SERVER_REPOSITORY: models are sent then",
            )
        for model in sorted(models):
            place = shared / model
            if place.exists():
                raise InputError(
                    "the folder that the server loads from has a model of that name",
                    where=str(place),
                    fix="give the server an empty folder to validate in",
                )
            stack.callback(remove_tree, place)
            with disk_errors(shared):
                for found in sorted(self._models[model].rglob("*")):
                    target = place / found.relative_to(self._models[model])
                    if found.is_dir():
                        target.mkdir(parents=True)
                    else:
                        link_or_copy(found, target)

    def _upload(self, model: str) -> Upload | None:
        """A model as it is sent.

        Raises:
            MissingError: it is larger than a message may be.
        """
        folder = self._models.get(model)
        if folder is None:
            return None
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")
                 if path.is_file() and path.name != CONFIG}  # fmt: skip
        size = sum(path.stat().st_size for path in files.values())
        if size > MOST:
            raise MissingError(
                "the model is too large to be sent to the server",
                where=model,
                found=f"{size / 1e9:.1f} GB",
                expected=f"at most {MOST / 1e9:.1f} GB",
                fix="share a folder with the server: TRITON_BUILDER_SERVER_REPOSITORY",
            )
        contents = {name: path.read_bytes() for name, path in files.items()}
        return Upload((folder / CONFIG).read_text(encoding="utf-8"), contents)

    def _unload(self, models: set[str]) -> None:
        """Unloads what was loaded for us, and waits until it is gone."""
        for model in sorted(models):
            with suppress(RefusedError, UnreachableError):
                if self._ready(model):
                    body = json.dumps({"parameters": {"unload_dependents": False}}).encode()
                    path = f"/v2/repository/models/{model}/unload"
                    self._endpoint.call("POST", path, body, timeout=PROMPT)
        deadline = time.monotonic() + UNLOADED
        while any(map(self._ready, models)) and time.monotonic() < deadline:
            time.sleep(TICK)
