"""Serving a repository in the foreground, for people: addresses, models, trouble, until Ctrl-C."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.repository import manifest
from builder.servers import log as logs
from builder.servers.launch import Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from builder.servers.ports import Ports
    from builder.servers.started import StartedServer

DRAIN = 10.0
"""Seconds that the server has to answer what it is at."""
PATIENCE = 3600.0
"""Seconds for loading: large models take minutes, and a person can press Ctrl-C."""
TICK = 0.2


def serve(  # noqa: PLR0913 - how people want it
    make: Callable[[Launch], StartedServer],
    repository: Path,
    ports: Ports | None,
    say: Callable[[str], None],
    *,
    verbose: bool = False,
    explicit: bool = False,
) -> None:
    """Serves a repository until Ctrl-C.

    Args:
        make: the server, not started yet, that has the repository.
        repository: what is served, for messages and the versions' names.
        ports: for HTTP, gRPC and metrics; free ones where None.
        say: told, line by line, the addresses, the models, and what goes wrong.
        verbose: tell the server's whole log.
        explicit: start empty, and load on request; else everything is loaded before it is ready.

    Raises:
        InputError: no such repository, or a port is taken.
        WorkFailedError: a model does not load, or the server ended by itself.
    """
    told: set[str] = set()

    def tell() -> None:
        for line in _standing(server, versions):
            if line not in told:
                told.add(line)
                say(line)

    versions = _versions(repository)
    server = make(
        Launch(
            explicit=explicit,
            ports=ports,
            ready_timeout=PATIENCE,
            drain=DRAIN,
            while_starting=tell,
        )
    )
    say(f"starting {server.name}")
    try:
        with server:
            logs.await_start(server)
            tell()
            say("ready; Ctrl-C stops it")
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


def _versions(repository: Path) -> dict[str, str]:
    """By model: its versions as they are written, and as Triton numbers them."""
    built = manifest.read(repository)
    return {
        model: ", ".join(f"{name} ({one.number})" for name, one in entry.versions.items())
        for model, entry in (built.models.items() if built else ())
    }


def _standing(server: StartedServer, versions: Mapping[str, str]) -> list[str]:
    """Where it will answer, and a line for each model that has loaded."""
    width = max(map(len, versions), default=0)
    return [
        *(f"{what:<8} {getattr(server, what)}" for what in ("http", "grpc", "metrics")),
        *(
            f"loaded   {model:<{width}}  {versions.get(model, '')}".rstrip()
            for model in logs.loaded(server.log())
        ),
    ]


def _follow(server: StartedServer, say: Callable[[str], None], *, verbose: bool) -> None:
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
