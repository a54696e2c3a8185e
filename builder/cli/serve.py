"""Triton on the built repository."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import target_option
from builder.errors import InputError

if TYPE_CHECKING:
    from builder.servers.launch import Launch
    from builder.servers.started import StartedServer


@click.command("serve")
@target_option
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The repository to serve; default: repository/<target>.",
)
@click.option(
    "--explicit", is_flag=True, help="Start empty; models come by request, as from an agent."
)
@click.option("--http-port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.option("--verbose", "-v", is_flag=True, help="Show all that the server logs.")
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    target: str | None,
    repository: Path | None,
    explicit: bool,
    http_port: int | None,
    grpc_port: int | None,
    metrics_port: int | None,
    verbose: bool,
) -> None:
    """Run Triton on a built or pulled repository until stopped."""
    from builder.flow.context import context
    from builder.flow.serving import check_own, started
    from builder.repository.manifest import FILE
    from builder.servers.foreground import serve as run
    from builder.servers.ports import pick
    from builder.spec.project import find

    here = context(find(options["start"]), target)
    check_own(here)
    folder = (repository or here.repository).absolute()
    if not (folder / FILE).is_file():
        raise InputError(
            "nothing is built",
            where=str(repository or f"repository/{here.target_name}"),
            fix=f"triton-builder build --target {here.target_name}",
        )
    given = (http_port, grpc_port, metrics_port)
    ports = None
    if any(given):
        free = pick()
        ports = (given[0] or free[0], given[1] or free[1], given[2] or free[2])
    say = functools.partial(print, flush=True)

    def make(launch: Launch) -> StartedServer:
        return started(here, [folder], launch, say)

    run(make, folder, ports, say, verbose=verbose, explicit=explicit)
