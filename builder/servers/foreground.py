"""Serving a repository in the foreground, for people: addresses, models, trouble, until Ctrl-C."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.repository import manifest
from builder.servers import log as logs
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
    *,
    verbose: bool = False,
) -> None:
    """Serves everything in a repository until Ctrl-C.

    Args:
        installation: what to run.
        repository: what to serve.
        ports: for HTTP, gRPC and metrics; free ones where None.
        say: told, line by line, the addresses, the models, and what goes wrong.
        verbose: tell the server's whole log.

    Raises:
        InputError: no such repository, or a port is taken.
        WorkFailedError: a model does not load, or the server ended by itself.
    """
    say(f"starting tritonserver {installation.server_version} ({installation.release})")
    server = EmbeddedServer(installation, [repository], explicit=False, ports=ports, drain=DRAIN)
    try:
        with server:
            for what in ("http", "grpc", "metrics"):
                say(f"{what:<8} {getattr(server, what)}")
            for line in _models(server, repository):
                say(line)
            say("serving until Ctrl-C")
            _follow(server, say, verbose=verbose)
    except KeyboardInterrupt:
        say("stopped")
        return
    raise WorkFailedError(
        "tritonserver ended by itself",
        where=str(repository),
        fix="see what it said last; `triton-builder serve --verbose` tells all of it",
        detail=logs.tail(server.log()),
    )


def _models(server: EmbeddedServer, repository: Path) -> list[str]:
    """A line for each model: its state, and its versions as written and as Triton numbers them."""
    built = manifest.read(repository)
    written = {
        (model, str(version.number)): f"{name} ({version.number})"
        for model, entry in (built.models.items() if built else ())
        for name, version in entry.versions.items()
    }
    index = _index(server.http)
    width = max((len(model) for model, _ in index), default=0)
    states: dict[str, dict[str, str]] = {}
    for (model, version), state in index.items():
        states.setdefault(model, {})[written.get((model, version), version)] = state
    return [
        f"{'/'.join(sorted(set(versions.values())))}  {model:<{width}}  {', '.join(versions)}"
        for model, versions in sorted(states.items())
    ]


def _index(address: str) -> dict[tuple[str, str], str]:
    """The state of each version that the server knows, by model and number."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("POST", "/v2/repository/index")
        listed = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException):  # it died; whoever follows its log will tell
        return {}
    finally:
        connection.close()
    states = {
        (one["name"], one["version"]): one.get("state", "") for one in listed if "version" in one
    }
    return dict(sorted(states.items(), key=lambda item: (item[0][0], int(item[0][1]))))


def _follow(server: EmbeddedServer, say: Callable[[str], None], *, verbose: bool) -> None:
    """Tells what the server logs for as long as it runs: from its start, or from now on."""
    told = 0 if verbose else len(server.log())
    try:
        while server.alive():
            time.sleep(TICK)
            log = server.log()
            end = max(log.rfind("\n") + 1, told)
            for line in log[told:end].splitlines() if verbose else logs.trouble(log[told:end]):
                say(line)
            told = end
    except KeyboardInterrupt:
        say("stopping")
        raise
