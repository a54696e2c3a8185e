"""Serving a repository in the foreground, for people: addresses, log, until Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.servers.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.servers.install import Installation
    from builder.servers.ports import Ports

DRAIN = 10.0
"""Seconds that the server has to answer what it is at."""
TICK = 0.2


def serve(
    installation: Installation,
    repository: Path,
    ports: Ports | None,
    say: Callable[[str], None],
) -> None:
    """Serves everything in a repository, telling its log line by line, until Ctrl-C.

    Raises:
        InputError: no such repository, or a port is taken.
        WorkFailedError: the server ended by itself.
    """
    say(f"starting tritonserver {installation.server_version} on {repository}")
    server = EmbeddedServer(installation, [repository], explicit=False, ports=ports, drain=DRAIN)
    told = 0
    try:
        with server:
            for what in ("http", "grpc", "metrics"):
                say(f"{what:<8} {getattr(server, what)}")
            say("serving until Ctrl-C")
            while server.alive():
                told = _tell(server.log(), told, say)
                time.sleep(TICK)
        _tell(server.log(), told, say)
        raise WorkFailedError("tritonserver ended by itself", where=str(repository))
    except KeyboardInterrupt:
        say("stopped")


def _tell(log: str, told: int, say: Callable[[str], None]) -> int:
    end = log.rfind("\n") + 1
    for line in log[told:end].splitlines():
        say(line)
    return max(end, told)
