"""Docker's own command line, and engines that are elsewhere: `podman system service` plays both.

Debian's package holds the daemon as well, which needs more than a container has: the client is
taken out of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from filelock import FileLock

from tests import debian

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.containers.engine import Engine

PACKAGE = "docker.io"


def client(engine: Engine) -> str:
    """The program `docker`."""
    found = shutil.which("docker")
    if found:
        return found
    folder = engine.data / "docker"
    with FileLock(f"{folder}.lock"):
        program = folder / "usr" / "bin" / "docker"
        if not program.exists():
            scratch = engine.data / "docker.unfinished"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(mode=0o755)
            debian.run(*debian.APT, "update")
            debian.run("sh", "-c", f"cd {scratch} && apt-get download {PACKAGE}")
            (package,) = scratch.glob("*.deb")
            debian.run("dpkg-deb", "--extract", str(package), str(scratch))
            package.unlink()
            scratch.rename(folder)
    return str(program)


@contextlib.contextmanager
def service(engine: Engine, address: str, hidden: Path | None = None) -> Iterator[str]:
    """The engine, where clients reach it at an address: `unix://PATH`, `tcp://HOST:PORT`.

    Args:
        engine: the real one.
        address: where it is reached.
        hidden: a folder that it does not have, as if it ran on a machine of its own.
    """
    environment = {**os.environ, **engine.environment}
    for variable in ("DOCKER_HOST", "CONTAINER_HOST"):
        environment.pop(variable, None)
    command = ["podman", "system", "service", "--time=0", address]
    if hidden:
        # only what lies over the folder is the service's own: were /run/netns too, no other podman
        # could look at the service's containers while they run, nor the service at others'
        hide = (
            f'mount --make-private "$(findmnt -n -o TARGET -T "{hidden}")" &&'
            f' mount -t tmpfs none "{hidden}" && exec "$@"'
        )
        unshare = ["unshare", "--mount", "--propagation=unchanged"]
        command = [*unshare, "sh", "-c", hide, "sh", *command]
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not _listens(address):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()


def free_address() -> str:
    """An address of the loopback interface that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{one.getsockname()[1]}"


def socket_in(folder: Path) -> str:
    """An address that is a file."""
    return f"unix://{folder / 'engine.sock'}"


def _listens(address: str) -> bool:
    scheme, _, place = address.partition("://")
    family = socket.AF_UNIX if scheme == "unix" else socket.AF_INET
    host, _, port = place.rpartition(":")
    with socket.socket(family) as one:
        try:
            one.connect(place if scheme == "unix" else (host, int(port)))
        except OSError:
            return False
    return True
