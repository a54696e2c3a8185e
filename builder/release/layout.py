"""The names of what lies in a release store. Pure.

    blobs/sha256/ab/<hex>                    files, by the digest of their bytes
    manifests/sha256-<hex>.json              releases: the manifest, put last and never changed
    manifests/sha256-<hex>.<kind>.json       what is attested of it: sig, mlbom, …
    claims/<target>/<model>/<version>.json   which bytes a version is, for ever
    releases/sha256-<hex>/…                  a release as plain files, where that was asked for
    channels/<name>.json                     movable names of releases
    pending/<random>.json                    a publication or a move under way, which `gc` minds
    gc.json                                  a collection under way, which publications wait for
    gone/sha256-<hex>.json                   a release that was collected

Keys are of `0-9A-Za-z._/-` only: Triton's own S3 client takes no others where the address has a
port. So a release is `sha256:<hex>` for people, and `sha256-<hex>` in keys.
"""

from __future__ import annotations

import re

from builder.errors import InputError

MANIFESTS = "manifests"
CHANNELS = "channels"
BLOBS = "blobs"
PENDING = "pending"
GONE = "gone"
TREES = "releases"
COLLECTION = "gc.json"

SIGNATURE = "sig"
"""The kind of attestation that says who stands for a release."""

_RELEASE = re.compile(r"(?:sha256[:-])?([0-9a-f]{6,64})")
_SHORT = re.compile(r"(?:sha256:)?[0-9a-f]{1,5}")
_CHANNEL = re.compile(r"[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*")
_KEY = re.compile(r"[0-9A-Za-z._/-]+")
_DIGITS = 64

SIX = "of a release's name give six digits or more"


def blob(digest: str) -> str:
    """Where the file with this sha256 lies."""
    return f"{BLOBS}/sha256/{digest[:2]}/{digest}"


def manifest(release: str) -> str:
    """Where a release's manifest lies."""
    return f"{MANIFESTS}/{_dashed(release)}.json"


def attestation(release: str, kind: str) -> str:
    """Where something attested of a release lies."""
    return f"{MANIFESTS}/{_dashed(release)}.{kind}.json"


def gone(release: str) -> str:
    """What says that a release was collected."""
    return f"{GONE}/{_dashed(release)}.json"


def tree(release: str) -> str:
    """Below what a release lies as plain files."""
    return f"{TREES}/{_dashed(release)}"


def claim(target: str, model: str, version: str) -> str:
    """What says which bytes a version is."""
    return f"claims/{target}/{model}/{version}.json"


def channel(name: str) -> str:
    """Where a channel lies."""
    return f"{CHANNELS}/{name}.json"


def pending(token: str) -> str:
    """What says that something is under way."""
    return f"{PENDING}/{token}.json"


def release_of(path: str) -> str | None:
    """The release whose manifest lies there; None where it is something else."""
    match = re.fullmatch(rf"{MANIFESTS}/sha256-([0-9a-f]{{64}})\.json", path)
    return f"sha256:{match[1]}" if match else None


def channel_of(path: str) -> str | None:
    """The channel that lies there; None where it is something else."""
    match = re.fullmatch(rf"{CHANNELS}/(.+)\.json", path)
    return match[1] if match and _CHANNEL.fullmatch(match[1]) else None


def is_release(name: str) -> bool:
    """Whether it is a release's whole name, as manifests and channels have it."""
    return whole(name.removeprefix("sha256:")) == name and digits(name) is not None


def digits(name: str) -> str | None:
    """The hex digits of a release's name, or of the start of one; None for a channel's name."""
    match = _RELEASE.fullmatch(name)
    return match[1] if match else None


def whole(digits: str) -> str | None:
    """The release that all of its digits name; None for fewer."""
    return f"sha256:{digits}" if len(digits) == _DIGITS else None


def check_channel(name: str) -> None:
    """Refuses a name that no channel may have.

    Raises:
        InputError: it has other characters, or could be a release's.
    """
    if not _CHANNEL.fullmatch(name) or digits(name):
        raise InputError(
            "no name for a channel",
            found=name,
            expected="small letters and digits, with . _ - between them, as in prod or eu-staging; "
            "not six or more of 0-9 a-f alone, which name releases",
            fix=SIX if is_short(name) else None,
        )


def is_short(name: str) -> bool:
    """Whether it may be meant for a release, and is too short a start of its name."""
    return bool(_SHORT.fullmatch(name))


def fits(path: str) -> bool:
    """Whether every client takes this key: Triton's S3 takes no other characters."""
    return bool(_KEY.fullmatch(path))


def _dashed(release: str) -> str:
    return release.replace(":", "-")
