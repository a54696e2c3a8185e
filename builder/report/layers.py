"""What a comparison layer by layer came to, for a terminal and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from builder.stages.comparing.layers import Comparison, Layer

SHOWN = 10
"""Layers that are shown beside the outputs and the one to blame: those that are off most."""

HEADINGS = ("value", "fp32", "here", "cosine", "relative", "absolute", "own cosine", "own relative")
NARROWEST = 80
"""Columns of a terminal that shows the table without cutting a figure."""

OPERATORS = 3
"""The last operators of a layer that stand in a table."""


def headline(comparison: Comparison) -> str:
    """The finding in a sentence."""
    count, first = len(comparison.layers), comparison.first
    if not comparison.missed:
        return f"all outputs are within their bounds; {count} values were compared"
    missed = ", ".join(f"`{one.value}`" for one in comparison.missed)
    if first is None:
        return f"{missed} misses its bounds, and no layer by itself: errors add up over {count}"
    return f"{missed} misses its bounds; `{first.value}` is the first value that departs"


def chosen(comparison: Comparison, *, every: bool) -> Sequence[Layer]:
    """The layers to show, in the order in which they run."""
    if every:
        return comparison.layers
    kept = {one.value for one in comparison.worst(SHOWN)}
    kept |= {one.value for one in comparison.missed}
    kept |= {comparison.first.value} if comparison.first else set()
    return [one for one in comparison.layers if one.output or one.value in kept]


def show(comparison: Comparison, console: Console, *, every: bool = False) -> None:
    """Prints a table, or plain lines where there is no terminal or a narrow one; the finding."""
    rows = [(one, _cells(one)) for one in chosen(comparison, every=every)]
    if console.is_terminal and console.width >= NARROWEST:
        from rich.table import Table

        table = Table(box=None, header_style="dim", pad_edge=False)
        for place, heading in enumerate(HEADINGS):
            figure = place > 2  # noqa: PLR2004
            table.add_column(heading, justify="right" if figure else "left", no_wrap=figure)
        for one, cells in rows:
            style = "bold red" if one == comparison.first else "red" if one.own.used > 1 else ""
            table.add_row(*cells, style=style)
        console.print(table)
    else:
        for one, (value, before, here, *figures) in rows:
            named = ", ".join(f"{h} {c}" for h, c in zip(HEADINGS[3:], figures, strict=True))
            mark = " (first to depart)" if one == comparison.first else ""
            console.out(f"{value}{mark}: {before} as {here}: {named}", highlight=False)
    left = len(comparison.layers) - len(rows)
    if left:
        console.out(f"and {left} more (--all)", highlight=False)
    console.out(headline(comparison), highlight=False)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All of it."""
    first = comparison.first
    return {
        "onnxruntime": comparison.onnxruntime,
        "bounds": comparison.bounds.model_dump(exclude_none=True),
        "missed": [one.value for one in comparison.missed],
        "first": first.value if first else None,
        "layers": [asdict(one) for one in comparison.layers],
    }


def _cells(one: Layer) -> tuple[str, ...]:
    last = one.operators[-OPERATORS:]
    here = " ".join(("…", *last) if len(one.operators) > OPERATORS else last)
    return (
        one.value,
        one.operator,
        here,
        f"{one.whole.cosine:.4f}",
        f"{one.whole.relative:.2e}",
        f"{one.whole.absolute:.2e}",
        f"{one.own.cosine:.4f}",
        f"{one.own.relative:.2e}",
    )
