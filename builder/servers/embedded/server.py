"""A tritonserver of this machine, out of an `Installation`: started, watched, and gone again."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import MissingError, WorkFailedError
from builder.files import too_many_open
from builder.servers import options
from builder.servers import ports as port_numbers
from builder.servers.endings import ending
from builder.servers.guard import Guard
from builder.servers.launch import Launch
from builder.servers.output import Output
from builder.servers.ports import HOST
from builder.servers.server import resident
from builder.servers.started import StartedServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psutil

    from builder.servers.embedded.install import Installation

BACKENDS = Path(__file__).with_name("backends")
SUPERVISOR = Path(__file__).with_name("supervise.py")
ATTEMPTS = 5
"""How often ports are picked again when somebody else was quicker."""
TMP, SHARED = "/tmp", "/dev/shm"  # noqa: S108
SHARED_LEAST = 2 << 20
FILES_LEAST = 128
"""Files open at once. It holds 64 of them before it has a model, then one for each instance and
client, and says of any that it cannot open that the model is at fault."""
SETTLING = 2.0
"""Seconds that the supervisor may take to clear up and say how the server ended."""


class EmbeddedServer(StartedServer):
    """NVIDIA's tritonserver on a CPU, on 127.0.0.1.

    Its Python stubs, its shared memory and its scratch folder are gone with it: `supervise` sees
    to that.

    Args:
        installation: what to run.
        repositories: Triton model repositories.
        launch: how it is started.

    Raises:
        InputError: a repository is no folder, or a port that was asked for is taken.
        MissingError: a folder that it wants is not there.
        WorkFailedError: it ended or was not live in time; the log's tail is in the message.
    """

    kind = "embedded"

    def __init__(
        self,
        installation: Installation,
        repositories: Sequence[Path],
        launch: Launch = Launch(),  # noqa: B008 - a value
    ) -> None:
        super().__init__(repositories, launch, installation.server_version, installation.release)
        self.installation = installation
        self._server: psutil.Process | None = None
        self._label = ""
        self._scratch: Path | None = None

    def alive(self) -> bool:
        """See `Server`; the supervisor may still be tidying up after one that is not."""
        import psutil

        if self.guard is None or self.guard.process.poll() is not None:
            return False
        try:
            return self._server is None or self._server.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def ended(self) -> str:
        """See `Server`."""
        if self.guard is None:
            return "unknown"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.guard.process.wait(SETTLING)
        return ending(self.guard.process.returncode)

    def memory(self) -> int:
        """See `Server`."""
        return resident(self._processes())

    def _start(self) -> None:
        """Starts it, on other ports where somebody else was quicker to take them."""
        _check_folders()
        _check_files()
        if self.launch.ports:
            port_numbers.check(self.launch.ports)
        for attempt in range(1, ATTEMPTS + 1):
            self._ports = self.launch.ports or port_numbers.pick()
            try:
                self._start_on_ports()
            except WorkFailedError:
                lost_port = port_numbers.was_taken(self.log())
                if not lost_port or self.launch.ports or attempt == ATTEMPTS:
                    raise
                self._stop()
            else:
                break

    def _start_on_ports(self) -> None:
        scratch = self._scratch = Path(tempfile.mkdtemp(prefix="triton-builder-"))
        label = self._label = f"triton-builder-{secrets.token_hex(6)}"
        order = {
            "parent": os.getpid(),
            "command": self._command(_assemble(self.installation.backends, scratch), label),
            "env": self._environment(scratch),
            "grace": self.launch.drain,
            "scratch": str(scratch),
            "segments": label,
        }
        self._server = None
        self._output = Output()
        self.guard = Guard(SUPERVISOR, order, self._output.file)
        self._wait_until_live()
        self._server = next(iter(self._processes()), None)

    def _command(self, backends: Path, label: str) -> list[str]:
        return [
            str(self.installation.tritonserver),
            *options.options(
                [repository.absolute() for repository in self.repositories],
                HOST,
                self._ports,
                self.launch,
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

    def _live(self) -> bool:
        # Somebody else's server may answer on a port that ours failed to get.
        return self._listens() and _answers(self._ports[0])

    def _check_runs(self) -> None:
        if not self.alive() or port_numbers.was_taken(self.log()):
            raise self._failed("tritonserver ended before it was live")

    def _processes(self) -> list[psutil.Process]:
        """The server's first, then its stubs', without the supervisor's."""
        import psutil

        if self.guard is None:
            return []
        try:
            return psutil.Process(self.guard.process.pid).children(recursive=True)
        except psutil.Error:
            return []

    def _listens(self) -> bool:
        import psutil

        mine: set[int] = set()
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                mine |= {c.laddr.port for c in process.net_connections("tcp")}
        return mine.issuperset(self._ports)

    def _stop(self) -> None:
        try:
            if self.guard is not None:
                self.guard.dismiss()
        finally:
            if self._scratch is not None:  # already gone, unless the supervisor was killed
                shutil.rmtree(self._scratch, ignore_errors=True)
            if self._output is not None:
                self._output.close()


def _check_folders() -> None:
    """Raises MissingError where a folder is not as NVIDIA's Python backend wants it, wherever else.

    It ends the whole server without /tmp, whatever $TMPDIR says, and loads no model without memory
    to share: a MB for each instance.
    """
    if not os.access(TMP, os.W_OK | os.X_OK):
        raise MissingError(
            "Triton's Python backend wants a folder for temporary files",
            where=TMP,
            found="one that this user may not write" if Path(TMP).is_dir() else "no such folder",
            expected="one that this user may write; it does not mind $TMPDIR",
            fix="chmod 1777 /tmp; for a container: --tmpfs /tmp",
        )
    try:
        status = os.statvfs(SHARED)
        room = status.f_bavail * status.f_frsize
    except OSError:
        room = 0
    if room < SHARED_LEAST:
        raise MissingError(
            "Triton's Python backend wants memory to share",
            where=SHARED,
            found=f"{room >> 10} KiB free",
            expected="a MiB for each instance of a model, and some more",
            fix="mount -o remount,size=1g /dev/shm; for a container: --shm-size=1g",
        )


def _check_files() -> None:
    """Raises MissingError where the server cannot open what it takes; what it may, it is given."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < FILES_LEAST:
        raise too_many_open("tritonserver may not open as many files as it takes")


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
