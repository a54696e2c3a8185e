"""Asking a live server again."""

from __future__ import annotations

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
@json_option
@click.pass_obj
def command(
    options: dict[str, Any],
    *,
    names: tuple[str, ...],
    target: str | None,
    repository: Path | None,
    as_json: bool,
) -> None:
    """Run every check again on a live server."""
    from builder.flow.build import NotProvenError
    from builder.flow.build import validate as run
    from builder.flow.context import context
    from builder.spec.project import find

    with Console() as console:
        here = context(find(options["start"]), target, names, console.warn)
        try:
            outcome = run(here, (repository or here.repository).resolve(), console.say)
        except NotProvenError as e:
            report(here, e.outcome, as_json=as_json, errors=[e])
            raise
    report(here, outcome, as_json=as_json)
