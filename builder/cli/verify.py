"""Reading every byte of a release again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option
from builder.cli.printing import print_json
from builder.cli.stores import release_store, store_option, trust_options, work
from builder.console import Bytes

if TYPE_CHECKING:
    from builder.release.trust import Trust


@click.command("verify")
@click.argument("name", metavar="CHANNEL|RELEASE|DIR")
@store_option
@click.option(
    "--signature",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signature of a DIR; default: the one in the release store.",
)
@trust_options
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    name: str,
    store: str | None,
    signature: Path | None,
    trust: Trust,
    as_json: bool,
) -> None:
    """Read every byte of a release, in its store or in a folder (a name with a slash)."""
    from builder.release import verify

    with Bytes("verifying") as progress:
        if "/" in name or Path(name).is_dir():
            folder = Path(name)
            signed = signature.read_bytes() if signature else None
            if trust and not signed:
                where = release_store(options, store)
                signed = work(verify.signature_of(where, folder))
            done = verify.in_folder(folder, trust, signed, progress.moved)
        else:
            where = release_store(options, store)
            done = work(verify.in_store(where, name, trust, progress.moved))
    if as_json:
        print_json(**vars(done), signed=bool(trust))
        return
    told = f"signed by {trust}" if trust else "no signature was asked for"
    told += ", so is its provenance" if done.provenance else ""
    told += f"; without {', '.join(done.without)}" if done.without else ""
    print(f"{done.release}: {done.files} files, {done.size / 1e6:,.1f} MB verified; {told}")
