"""Reading every byte of a release again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from builder.cli.options import json_option
from builder.cli.printing import print_json
from builder.cli.stores import release_store, signature_check, store_option, verify_option, work
from builder.console import Bytes


@click.command("verify")
@click.argument("name", metavar="CHANNEL|RELEASE|DIR")
@store_option
@click.option(
    "--signature",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signature of a DIR; default: the one in the release store.",
)
@verify_option
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    name: str,
    store: str | None,
    signature: Path | None,
    verify_key: Path | None,
    as_json: bool,
) -> None:
    """Read every byte of a release, in its store or in a folder (a name with a slash)."""
    from builder.release import verify

    check = signature_check(verify_key)
    with Bytes("verifying") as progress:
        if "/" in name or Path(name).is_dir():
            folder = Path(name)
            signed = signature.read_bytes() if signature else None
            if check and not signed:
                where = release_store(options, store)
                signed = work(verify.signature_of(where, folder))
            done = verify.in_folder(folder, check, signed, progress.moved)
        else:
            where = release_store(options, store)
            done = work(verify.in_store(where, name, check, progress.moved))
    told = "verified and signed" if verify_key else "verified; no key was given for a signature"
    if as_json:
        print_json(**vars(done), signed=verify_key is not None)
    else:
        print(f"{done.release}: {done.files} files, {done.size / 1e6:,.1f} MB {told}")
