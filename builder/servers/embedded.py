"""A tritonserver of this machine, out of an `Installation`: started, watched, and gone again."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from builder.errors import WorkFailedError
from builder.servers import log as logs
from builder.servers import options
from builder.servers import ports as port_numbers
from builder.servers.endings import ending
from builder.servers.endpoint import Access
from builder.servers.ports import HOST
from builder.servers.server import Control, resident

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import psutil

    from builder.servers.install import Installation
    from builder.servers.ports import Ports

BACKENDS = Path(__file__).with_name("backends")
SUPERVISOR = Path(__file__).with_name("supervise.py")
ATTEMPTS = 5
"""How often ports are picked again when somebody else was quicker."""
TICK = 0.05
SETTLING = 2.0
"""Seconds that the supervisor may take to clear up and say how the server ended."""


class EmbeddedServer:
    """NVIDIA's tritonserver on a CPU, on 127.0.0.1, for as long as the `with` block lasts.

    It, its Python stubs, its shared memory and its scratch folder are gone afterwards,
    also when this process was interrupted or killed: `supervise` sees to that.

    Args:
        installation: what to run.
        repositories: Triton model repositories.
        explicit: load on request; else load everything before being live, and fail where
            something does not load.
        preload: where explicit: load everything first, as in a pod.
        verbose: Triton's `--log-verbose`.
        ports: for HTTP, gRPC and metrics; free ones where None.
        ready_timeout: seconds until it must be live, loading included.
        drain: seconds between asking it to end and ending it. Nothing of it is kept, so
            there is nothing to wait for (unloading takes seconds), unless others use it.
        while_starting: called again and again until it is live; its addresses stand then.

    Raises:
        InputError: a repository is no folder, or one of `ports` is taken.
        WorkFailedError: it ended or was not live in time; the log's tail is in the message.
    """

    access = Access()
    control = Control()

    def __init__(  # noqa: PLR0913 - how a server runs, all by name
        self,
        installation: Installation,
        repositories: Sequence[Path],
        *,
        explicit: bool = True,
        preload: bool = False,
        verbose: int = 0,
        ports: Ports | None = None,
        ready_timeout: float = 120,
        drain: float = 0,
        while_starting: Callable[[], None] = lambda: None,
    ) -> None:
        self.installation = installation
        self.repositories = tuple(repositories)
        self._explicit = explicit
        self._preload = preload
        self._verbose = verbose
        self._given_ports = ports
        self._ready_timeout = ready_timeout
        self._drain = drain
        self._while_starting = while_starting
        self._ports: Ports = ports or (0, 0, 0)
        self._process: subprocess.Popen[bytes] | None = None
        self._server: psutil.Process | None = None
        self._output: IO[bytes] | None = None
        self._log = ""
        self._label = ""
        self._scratch: Path | None = None

    @property
    def name(self) -> str:
        """See `Server`."""
        return f"tritonserver {self.installation.server_version} ({self.release}), embedded"

    @property
    def release(self) -> str:
        """See `Server`."""
        return self.installation.release

    @property
    def http(self) -> str:
        """See `Server`."""
        return f"{HOST}:{self._ports[0]}"

    @property
    def grpc(self) -> str:
        """See `Server`."""
        return f"{HOST}:{self._ports[1]}"

    @property
    def metrics(self) -> str:
        """See `Server`."""
        return f"{HOST}:{self._ports[2]}"

    def alive(self) -> bool:
        """See `Server`; the supervisor may still be tidying up after one that is not."""
        import psutil

        if self._process is None or self._process.poll() is not None:
            return False
        try:
            return self._server is None or self._server.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def ended(self) -> str:
        """See `Server`."""
        process = self._process
        if process is None:
            return "unknown"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SETTLING)
        return ending(process.returncode)

    def log(self) -> str:
        """See `Server`; stays readable when the server is gone."""
        if self._output is not None:
            descriptor = self._output.fileno()
            size = os.fstat(descriptor).st_size
            # pread: the server writes at the offset that this file shares with it
            text = os.pread(descriptor, size, 0).decode(errors="replace")
            self._log = logs.COLOUR.sub("", text)
        return self._log

    def memory(self) -> int:
        """See `Server`."""
        return resident(self._processes())

    def __enter__(self) -> Self:
        options.check(self.repositories)
        if self._given_ports:
            port_numbers.check(self._given_ports)
        for attempt in range(1, ATTEMPTS + 1):
            self._ports = self._given_ports or port_numbers.pick()
            try:
                self._start()
            except BaseException as error:
                self._stop()
                lost_port = isinstance(error, WorkFailedError) and port_numbers.was_taken(self._log)
                if not lost_port or self._given_ports or attempt == ATTEMPTS:
                    raise
            else:
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self) -> None:
        scratch = self._scratch = Path(tempfile.mkdtemp(prefix="triton-builder-"))
        label = self._label = f"triton-builder-{secrets.token_hex(6)}"
        order = {
            "parent": os.getpid(),
            "command": self._command(_assemble(self.installation.backends, scratch), label),
            "env": self._environment(scratch),
            "grace": self._drain,
            "scratch": str(scratch),
            "segments": label,
        }
        self._server = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `_stop`
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is ours to act on, not the server's
        )
        self._wait_until_live()

    def _command(self, backends: Path, label: str) -> list[str]:
        return [
            str(self.installation.tritonserver),
            *options.options(
                [repository.absolute() for repository in self.repositories],
                HOST,
                self._ports,
                explicit=self._explicit,
                preload=self._preload,
                verbose=self._verbose,
            ),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={label}-",
        ]

    def _environment(self, scratch: Path) -> Mapping[str, str]:
        """All that the server sees: nothing of the user's, so that it is the same anywhere."""
        return {
            "PATH": f"{self.installation.runtime.parent}:{os.defpath}",
            "LD_LIBRARY_PATH": ":".join(str(path) for path in self.installation.libraries),
            "LC_ALL": "C.UTF-8",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
        }

    def _wait_until_live(self) -> None:
        deadline = time.monotonic() + self._ready_timeout
        # Somebody else's server may answer on a port that ours failed to get.
        while not (self._listens() and _answers(self._ports[0])):
            if not self.alive() or port_numbers.was_taken(self.log()):
                raise self._failed("tritonserver ended before it was live")
            if time.monotonic() > deadline:
                raise self._failed(f"tritonserver is not live after {self._ready_timeout:g} s")
            self._while_starting()
            time.sleep(TICK)
        self._server = next(iter(self._processes()), None)

    def _processes(self) -> list[psutil.Process]:
        """The server's first, then its stubs', without the supervisor's."""
        import psutil

        if self._process is None:
            return []
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _listens(self) -> bool:
        import psutil

        mine: set[int] = set()
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                mine |= {c.laddr.port for c in process.net_connections("tcp")}
        return mine.issuperset(self._ports)

    def _failed(self, problem: str) -> WorkFailedError:
        where = ", ".join(str(repository) for repository in self.repositories)
        return logs.failure(problem, where, self.log())

    def _stop(self) -> None:
        process = self._process
        if process is not None:
            if process.stdin is not None:
                # Said and closed: a forked worker of ours may hold the pipe's end open.
                with contextlib.suppress(OSError):
                    process.stdin.write(b"stop\n")
                with contextlib.suppress(OSError):
                    process.stdin.close()
            try:
                process.wait()
            except KeyboardInterrupt:  # a second one; the supervisor is bound to end soon
                process.wait()
                raise
        if self._scratch is not None:  # already gone, unless the supervisor was killed
            shutil.rmtree(self._scratch, ignore_errors=True)
        self.log()
        if self._output is not None:
            self._output.close()
            self._output = None


def _assemble(backends: Path, scratch: Path) -> Path:
    """A backend folder of links: NVIDIA's Python backend, and ours as they are right now."""
    folder = scratch / "backends"
    folder.mkdir()
    for source in (backends, BACKENDS):
        for backend in source.iterdir():
            if backend.is_dir() and backend.name != "__pycache__":
                (folder / backend.name).symlink_to(backend)
    return folder


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/v2/health/live")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
