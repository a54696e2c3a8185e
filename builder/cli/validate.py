"""Asking a live server again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from builder.cli.options import json_option, names_argument, target_option
from builder.cli.printing import report
from builder.console import Console


@click.command("validate")
@names_argument
@target_option
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The repository to validate; default: repository/<target>.",
)
@click.option(
    "--url",
    "urls",
    multiple=True,
    metavar="URL",
    help="A running server to ask instead of the target's own: http://HOST:8000 or "
    "grpc://HOST:8001 (https, grpcs); both, where their ports are not neighbours.",
)
@click.option(
    "--leaks",
    is_flag=True,
    help="Load and unload each model some times as well, and see that it leaves nothing behind.",
)
@click.option(
    "--layers",
    is_flag=True,
    help="Where goldens are missed, name the first layer that departs from the fp32 graph.",
)
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    names: tuple[str, ...],
    target: str | None,
    repository: Path | None,
    urls: tuple[str, ...],
    leaks: bool,
    layers: bool,
    as_json: bool,
) -> None:
    """Run every check again on a live server."""
    from builder.flow.context import context
    from builder.flow.outcome import NotProvenError
    from builder.flow.validate import validate as run
    from builder.spec.project import find

    with Console() as console:
        here = replace(context(find(options["start"]), target, names, console.warn), urls=urls)
        try:
            tree = (repository or here.repository).resolve()
            outcome = run(here, tree, console.say, leaks=leaks, by_layer=layers)
        except NotProvenError as e:
            report(here, e.outcome, as_json=as_json, errors=[e])
            raise
    report(here, outcome, as_json=as_json)
