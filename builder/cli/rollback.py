"""Moving a channel back."""

from __future__ import annotations

from typing import Any

import click

from builder.cli.options import json_option
from builder.cli.printing import tell
from builder.cli.promote import show
from builder.cli.stores import release_store, store_option, work


@click.command("rollback")
@click.argument("channel")
@click.option("--to", metavar="RELEASE", help="A release that it was at; default: the one before.")
@store_option
@json_option
@click.pass_obj
def command(
    options: dict[str, Any], *, channel: str, to: str | None, store: str | None, as_json: bool
) -> None:
    """Move CHANNEL back to the release that it was at before."""
    from builder.release.move import rollback

    show(work(rollback(release_store(options, store), channel, to, tell)), as_json=as_json)
