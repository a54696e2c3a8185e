"""Publishing a proven repository as a release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from builder.cli.options import json_option, target_option
from builder.cli.printing import print_json
from builder.cli.stores import FILE, release_store, store_option, trust_config_option, work
from builder.console import Bytes
from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from builder.release.oci.push import Pushed
    from builder.release.store import Release


@click.command("publish")
@target_option
@store_option
@click.option("--channel", metavar="C", help="Move this channel to the release as well.")
@click.option("--tree", is_flag=True, help="Also lay it out as plain files, for Triton's s3://.")
@click.option(
    "--sign-key",
    type=FILE,
    envvar="TRITON_BUILDER_SIGN_KEY",
    show_envvar=True,
    help="A private key in PEM to sign it with.",
)
@click.option("--keyless", is_flag=True, help="Sign by an identity, at Sigstore.")
@trust_config_option
@click.option(
    "--oci", metavar="REF|FOLDER", help="Also push it as an image and as a ModelPack artifact."
)
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
    trust_config: Path | None,
    oci: str | None,
    as_json: bool,
) -> None:
    """Publish a target's proven repository as an immutable release."""
    from builder.release import layout, move, publish
    from builder.spec.project import find, read_settings

    if channel:
        layout.check_channel(channel)
    if sign_key and keyless:
        raise InputError("a key or an identity, not both", where="--sign-key, --keyless")
    if trust_config and not keyless:
        raise InputError(
            "a trust configuration is for identities",
            where="--trust-config",
            found=str(trust_config),
            expected="--keyless with it",
        )
    root = find(options["start"])
    name = target or read_settings(root).default_target
    where = release_store(options, store, create=True)
    attest = _attestations(_signer(sign_key, trust_config, keyless=keyless))
    with Bytes("uploading") as progress:
        how = publish.Options(
            attest=attest,
            tree=tree,
            say=progress.say,
            total=progress.total,
            moved=progress.moved,
        )
        done = work(publish.publish(root / "repository" / name, where, how))
        pushed = _push(root / "repository" / name, oci, attest) if oci else None
        moved = None
        if channel:
            progress.say(f"{done.release} is published; moving channel {channel}")
            moved = work(move.promote(where, channel, done.release, progress.say))
    if as_json:
        before = moved.before if moved else None
        image = vars(pushed) if pushed else None
        print_json(**vars(done), store=where.url, channel=channel, before=before, oci=image)
        return
    if done.new:
        sent, size = done.uploaded / 1e6, done.size / 1e6
        print(f"published {done.release} ({sent:,.1f} of {size:,.1f} MB uploaded)")
    else:
        print(f"{done.release} was published before")
    if pushed:
        print(f"{pushed.where}:{pushed.tag} is {pushed.digest} ({pushed.layers} layers pushed)")
    if moved:
        before = f", was at {moved.before}" if moved.before else ""
        print(f"channel {channel} is at it" + (before if moved.changed else " already"))


def _push(repository: Path, target: str, attest: Callable[[Release], dict[str, bytes]]) -> Pushed:
    from builder.release import publish
    from builder.release.oci import push

    release = publish.proven(repository)
    with Bytes("pushing") as progress:
        how = push.Options(
            attached=attest(release),
            say=progress.say,
            total=progress.total,
            moved=progress.moved,
        )
        return push.push(repository, release.content, target, how)


def _signer(
    key: Path | None, trust: Path | None, *, keyless: bool
) -> Callable[[bytes], bytes] | None:
    """What signs the release: a key, an identity, or nothing."""
    from builder.release.attest import keyless as identities
    from builder.release.attest import signing

    if keyless:
        return identities.Signer(trust)
    return signing.signer(key) if key else None


def _attestations(sign: Callable[[bytes], bytes] | None) -> Callable[[Release], dict[str, bytes]]:
    """What goes beside the manifest: where it came from, what it is made of, who signed it."""
    made: dict[str, dict[str, bytes]] = {}  # a registry gets what the store got

    def attest(release: Release) -> dict[str, bytes]:
        from builder.release.attest.attestations import attestations

        if release.name not in made:
            made[release.name] = attestations(release.manifest, release.name, sign)
        return made[release.name]

    return attest
