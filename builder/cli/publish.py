"""Publishing a proven repository as a release."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option, target_option
from builder.cli.printing import print_json
from builder.cli.stores import release_store, store_option
from builder.console import Bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.release.store import Release


@click.command("publish")
@target_option
@store_option
@click.option("--channel", metavar="C", help="Move this channel to the release as well.")
@click.option("--tree", is_flag=True, help="Also lay it out as plain files, for Triton's s3://.")
@click.option(
    "--sign-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="TRITON_BUILDER_SIGN_KEY",
    show_envvar=True,
    help="A private key in PEM to sign it with.",
)
@click.option("--keyless", is_flag=True, help="Sign by an identity, at Sigstore.")
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    target: str | None,
    store: str | None,
    channel: str | None,
    tree: bool,
    sign_key: Path | None,
    keyless: bool,
    as_json: bool,
) -> None:
    """Publish a target's proven repository as an immutable release."""
    from builder.release import layout, move, publish
    from builder.spec.project import find, read_settings

    if channel:
        layout.check_channel(channel)
    root = find(options["start"])
    name = target or read_settings(root).default_target
    where = release_store(options, store, create=True)
    with Bytes("uploading") as progress:
        how = publish.Options(
            attest=_attestations(sign_key, keyless=keyless),
            tree=tree,
            say=progress.say,
            total=progress.total,
            moved=progress.moved,
        )
        done = asyncio.run(publish.publish(root / "repository" / name, where, how))
        moved = None
        if channel:
            moved = asyncio.run(move.promote(where, channel, done.release, progress.say))
    if as_json:
        before = moved.before if moved else None
        print_json(**vars(done), store=where.url, channel=channel, before=before)
        return
    if done.new:
        sent, size = done.uploaded / 1e6, done.size / 1e6
        print(f"published {done.release} ({sent:,.1f} of {size:,.1f} MB uploaded)")
    else:
        print(f"{done.release} was published before")
    if moved:
        print(f"channel {channel} is at it" + (f", was at {moved.before}" if moved.before else ""))


def _attestations(key: Path | None, *, keyless: bool) -> dict[str, Callable[[Release], bytes]]:
    """What goes beside the manifest: where it came from, what it is made of, who signed it."""

    def provenance(release: Release) -> bytes:
        from builder.release.attest.provenance import provenance as made

        return made(release.manifest, release.name)

    def mlbom(release: Release) -> bytes:
        from builder.release.attest.mlbom import mlbom as made

        return made(release.manifest, release.name)

    def signed(release: Release) -> bytes:
        if key:
            from builder.release.attest.signing import sign

            return sign(release.manifest, release.name, key)
        from builder.release.attest.keyless import sign as sign_keyless

        return sign_keyless(release.manifest, release.name)

    made: dict[str, Callable[[Release], bytes]] = {"provenance": provenance, "mlbom": mlbom}
    return made | ({"sig": signed} if key or keyless else {})
