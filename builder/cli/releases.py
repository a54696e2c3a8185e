"""What a release store holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option
from builder.cli.printing import print_json
from builder.cli.stores import release_store, store_option, work

if TYPE_CHECKING:
    from builder.release.listing import Row

WIDTH = 140
"""Of a table that goes to a file."""


@click.command("releases")
@store_option
@json_option
@click.pass_obj
def command(options: dict[str, Any], *, store: str | None, as_json: bool) -> None:
    """Show releases and channels, the latest first."""
    from builder.release.listing import listing

    where = release_store(options, store)
    rows, channels = work(listing(where))
    if as_json:
        print_json(
            store=where.url,
            releases=[row.as_dict() for row in rows],
            channels=[
                {"channel": c.name, "target": c.target, "release": c.release,
                 "history": [vars(m) for m in c.history]}
                for c in channels
            ],
        )  # fmt: skip
        return
    if not rows:
        print(f"no release is in {where.url}; triton-builder publish makes one")
        return
    _show(rows)
    for channel in channels:
        last = channel.history[-1]
        print(f"{channel.name}: {channel.release[:19]}, {last.action} by {last.by} at {last.at}")


def _show(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    for heading in ("release", "target", "triton", "models", "MB", "published", "channels", ""):
        table.add_column(heading, justify="right" if heading in {"models", "MB"} else "left")
    for row in rows:
        table.add_row(
            row.release[:19],
            row.target,
            row.triton,
            str(row.models),
            f"{row.size / 1e6:,.1f}",
            f"{row.published:%Y-%m-%d %H:%M}",
            ", ".join(row.channels),
            "signed" if row.signed else "",
        )
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
