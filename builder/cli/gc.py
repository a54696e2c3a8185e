"""Dropping what nobody needs any more."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from builder.cli.options import age, json_option, size
from builder.cli.printing import print_json, tell
from builder.cli.stores import release_store, store_option, work
from builder.errors import InputError


@click.command("gc")
@click.option("--max-size", metavar="SIZE", callback=size, help="Most bytes to keep: 20GB.")
@click.option("--max-age", metavar="TIME", callback=age, help="Longest without use: 30d, 12h.")
@click.option("--releases", is_flag=True, help="Old releases, in the release store, instead.")
@click.option(
    "--window",
    metavar="TIME",
    callback=age,
    help="With --releases: what a channel was at since then stays, and what was published since; "
    "default: 30d.",
)
@store_option
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    max_size: int | None,
    max_age: float | None,
    releases: bool,
    window: float | None,
    store: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Drop what was not used for long from the local store, or old releases.

    Without limits: what nothing refers to any more. What a repository was built from, and what a
    running build uses, always stays; so does what a channel is at, and the release before that.
    """
    if releases:
        if max_size or max_age:
            raise InputError(
                "releases go by what channels are at, not by size or use",
                where="--max-size, --max-age",
                expected="--window 30d",
            )
        since = timedelta(seconds=30 * 86400 if window is None else window)
        _releases(options, store, since, dry=dry_run, as_json=as_json)
        return
    if store or window is not None:
        raise InputError("these are for releases", where="--store, --window", fix="add --releases")
    from builder.store.digests import cache_folder
    from builder.store.gc import Limits, collect
    from builder.store.store import Store

    local = Store(cache_folder() / "store", Path())
    found = collect(local, Limits(max_size, max_age), dry=dry_run)
    if as_json:
        print(json.dumps(vars(found), indent=2))
        return
    verb = "would drop" if dry_run else "dropped"
    print(
        f"{verb} {found.records} results and {found.blobs} files ({found.bytes / 1e6:.1f} MB); "
        f"{found.left / 1e6:.1f} MB stay in {local.root}"
    )


def _releases(
    options: dict[str, Any], store: str | None, window: timedelta, *, dry: bool, as_json: bool
) -> None:
    from builder.release.collect import collect

    where = release_store(options, store)
    found = work(collect(where, window, dry=dry, say=tell))
    if as_json:
        print_json(**vars(found), store=where.url, dry_run=dry)
        return
    verb = "would drop" if dry else "dropped"
    for name in found.releases:
        print(f"{verb} {name}")
    print(
        f"{verb} {len(found.releases)} releases, {found.objects} objects "
        f"({found.bytes / 1e6:,.1f} MB); {len(found.kept)} releases stay in {where.url}"
    )
