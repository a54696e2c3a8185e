"""Moving a channel to a release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option
from builder.cli.printing import print_json, tell
from builder.cli.stores import release_store, store_option, work

if TYPE_CHECKING:
    from builder.release.move import Moved


@click.command("promote")
@click.argument("release")
@click.argument("channel")
@store_option
@json_option
@click.pass_obj
def command(
    options: dict[str, Any], *, release: str, channel: str, store: str | None, as_json: bool
) -> None:
    """Move CHANNEL to RELEASE: a release, the start of its name, or another channel's name."""
    from builder.release.move import promote

    where = release_store(options, store)
    show(work(promote(where, channel, release, tell)), as_json=as_json)


def show(moved: Moved, *, as_json: bool) -> None:
    """Prints what a move came to."""
    channel = moved.channel
    if as_json:
        print_json(
            channel=channel.name,
            release=channel.release,
            before=moved.before,
            changed=moved.changed,
        )
    elif moved.changed:
        before = f", was at {moved.before[:19]}" if moved.before else ", which is new"
        print(f"channel {channel.name} is at {channel.release[:19]}{before}")
    else:
        print(f"channel {channel.name} is at {channel.release[:19]} already")
