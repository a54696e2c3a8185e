"""What a release store holds; and, under the same word, Triton's own releases."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option
from builder.cli.printing import print_json
from builder.cli.stores import release_store, store_option, work
from builder.errors import InputError, SeveralError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.release.listing import Listing, Row
    from builder.triton.releases import Release

WIDTH = 140
"""Of a table that goes to a file."""

UNKNOWN = "?"
"""What stands for a fact of a Triton release that is not established."""


@click.command("releases")
@store_option
@click.option(
    "--triton", is_flag=True, help="Show NVIDIA's releases of Triton instead, and what is in each."
)
@json_option
@click.pass_obj
def command(options: dict[str, Any], *, store: str | None, triton: bool, as_json: bool) -> None:
    """Show releases and channels, the latest first."""
    if triton:
        if store:
            raise InputError(
                "Triton's own releases lie in no store",
                where="--store",
                found=store,
                expected="--triton alone",
                fix="leave one of the two out",
            )
        _triton(as_json=as_json)
        return
    from builder.release.listing import listing

    where = release_store(options, store)
    found = work(listing(where))
    errors = [SeveralError.of(found.broken)] if found.broken else []
    if as_json:
        print_json(
            errors,
            store=where.url,
            releases=[row.as_dict() for row in found.releases],
            channels=[
                {"channel": c.name, "target": c.target, "release": c.release,
                 "history": [vars(m) for m in c.history]}
                for c in found.channels
            ],
        )  # fmt: skip
    else:
        _show_all(found, where.url)
    for error in errors:
        raise error


def _show_all(found: Listing, url: str) -> None:
    if found.releases:
        _show(found.releases)
    elif not found.broken:
        print(f"no release is in {url}; triton-builder publish makes one")
    for channel in found.channels:
        last = channel.history[-1]
        print(f"{channel.name}: {channel.release[:19]}, {last.action} by {last.by} at {last.at}")


def _show(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None)
    table.add_column("release", no_wrap=True, min_width=19)  # in part it names nothing
    for heading in ("target", "triton", "models", "MB", "published", "channels", ""):
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


def _triton(*, as_json: bool) -> None:
    """What a target's `triton` may be, the latest first."""
    from builder.servers.embedded.install import RELEASES
    from builder.triton.releases import table

    rows = {row.name: row for row in reversed(list(table().values()))}
    if as_json:
        told = [row.as_dict() | {"embedded": row.name in RELEASES} for row in rows.values()]
        print_json(releases=told)
        return
    _show_triton(rows, {*RELEASES})


def _show_triton(rows: Mapping[str, Release], embedded: set[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    headings = {
        "server": "server",
        "onnxruntime": "ONNX Runtime",
        "opset": "opset",
        "ir": "IR",
        "tensorrt": "TensorRT",
        "cuda": "CUDA",
        "python": "Python",
        "compute_capability": "GPUs from",
        "driver": "driver",
    }
    table = Table("triton", *headings.values(), "", box=None)
    for row in rows.values():
        facts = {**vars(row), "opset": None, "ir": None}
        if row.onnx:
            facts |= {"opset": str(row.onnx.opset), "ir": str(row.onnx.ir_version)}
        shown = [facts[name] or UNKNOWN for name in headings]
        table.add_row(row.name, *shown, "embedded server" if row.name in embedded else "")
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    print(f"{UNKNOWN}: not established; --json says of each fact where it stands and what is open")
