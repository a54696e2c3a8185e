"""Asking which layer of a version departs from the fp32 graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option, target_option
from builder.cli.printing import print_json, tell, warn
from builder.errors import WorkFailedError

if TYPE_CHECKING:
    from builder.stages.comparing.layers import Comparison


@click.command("compare")
@click.argument("model")
@click.argument("version")
@target_option
@click.option("--all", "every", is_flag=True, help="Show every layer.")
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    model: str,
    version: str,
    target: str | None,
    every: bool,
    as_json: bool,
) -> None:
    """Compare a version's layers with the fp32 graph's, and name the first that departs."""
    from rich.console import Console as Terminal

    from builder.flow.context import context
    from builder.flow.layers import compare
    from builder.report import layers
    from builder.spec.project import find

    here = context(find(options["start"]), target, (), warn)
    found = compare(here, model, version, tell)
    error = _error(found, f"{model} {version}")
    if as_json:
        print_json([error] if error else [], **layers.as_json(found))
    else:
        layers.show(found, Terminal(), every=every)
    if error:
        error.outcome = found  # type: ignore[attr-defined]  # it was reported
        raise error


def _error(found: Comparison, where: str) -> WorkFailedError | None:
    if not found.missed:
        return None
    first = found.first
    if first is None:
        output = found.missed[0]
        return WorkFailedError(
            f"errors add up: `{output.value}` misses its bounds, and no layer does by itself",
            where=where,
            found=f"cosine {output.whole.cosine:.5f}, relative {output.whole.relative:.2e}",
            expected=found.words(output),
            fix="take recipe: accurate, a higher precision, or a wider `tolerance`",
        )
    return WorkFailedError(
        f"`{first.value}` is the first value that departs from the fp32 graph",
        where=where,
        found=f"node `{first.node}` ({' '.join(first.operators)} for {first.operator}): cosine "
        f"{first.own.cosine:.5f}, relative {first.own.relative:.2e}, absolute "
        f"{first.own.absolute:.2e} in sample {first.own.sample}, given what the fp32 graph has",
        expected=found.words(first),
        fix="take recipe: accurate or a higher precision for this version, or write that layer in "
        "the model's source so that it has no values far above the others",
    )
