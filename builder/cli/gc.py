"""Dropping what nobody needs any more."""

from __future__ import annotations

import json
from pathlib import Path

import click

from builder.cli.options import age, json_option, size


@click.command("gc")
@click.option("--max-size", metavar="SIZE", callback=size, help="Most bytes to keep: 20GB.")
@click.option("--max-age", metavar="TIME", callback=age, help="Longest without use: 30d, 12h.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def command(*, max_size: int | None, max_age: float | None, dry_run: bool, as_json: bool) -> None:
    """Drop what was not used for long from the local store.

    Without limits: what nothing refers to any more. What a repository was built from, and what a
    running build uses, always stays.
    """
    from builder.store.digests import cache_folder
    from builder.store.gc import Limits, collect
    from builder.store.store import Store

    store = Store(cache_folder() / "store", Path())
    found = collect(store, Limits(max_size, max_age), dry=dry_run)
    if as_json:
        print(json.dumps(vars(found), indent=2))
        return
    verb = "would drop" if dry_run else "dropped"
    print(
        f"{verb} {found.records} results and {found.blobs} files ({found.bytes / 1e6:.1f} MB); "
        f"{found.left / 1e6:.1f} MB stay in {store.root}"
    )
