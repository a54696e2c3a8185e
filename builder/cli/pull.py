"""Bringing a release into a folder that Triton serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option
from builder.cli.printing import print_json
from builder.cli.stores import (
    cache_option,
    models_option,
    release_store,
    store_option,
    trust_options,
    work,
)
from builder.console import Bytes

if TYPE_CHECKING:
    from builder.release.trust import Trust


@click.command("pull")
@click.argument("name", metavar="CHANNEL|RELEASE")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@store_option
@models_option
@cache_option
@trust_options
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    name: str,
    folder: Path,
    store: str | None,
    models: list[str],
    cache: Path | None,
    trust: Trust,
    as_json: bool,
) -> None:
    """Bring DIR to a release: every byte verified, swapped in at one go."""
    from builder.release import pull

    where = release_store(options, store)
    with Bytes("pulling") as progress:
        how = pull.Options(
            models=models,
            cache=cache,
            check=trust.check if trust else None,
            say=progress.say,
            total=progress.total,
            moved=progress.moved,
        )
        done = work(pull.pull(where, name, folder, how))
    if as_json:
        print_json(**vars(done), folder=str(folder), store=where.url)
    elif done.changed:
        came, size = done.downloaded / 1e6, done.size / 1e6
        print(f"{folder} is {done.release} ({came:,.1f} of {size:,.1f} MB downloaded)")
    else:
        print(f"{folder} is up to date ({done.release[:19]})")
