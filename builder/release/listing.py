"""What a release store holds, for people: what can be read of it, and what cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from builder.errors import WorkFailedError
from builder.release import layout
from builder.release.store import decode
from builder.remote.tasks import together

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from datetime import datetime

    from builder.release.channel import Channel
    from builder.release.store import Release, ReleaseStore

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One release.

    Attributes:
        release: `sha256:<hex>`.
        target: the target that it is for.
        triton: the Triton release that it was proven on.
        models: how many it holds.
        size: bytes of all of its files.
        published: when.
        channels: those that are at it.
        signed: whether a signature lies beside it; whose, only `verify` tells.
    """

    release: str
    target: str
    triton: str
    models: int
    size: int
    published: datetime
    channels: tuple[str, ...]
    signed: bool

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**vars(self), "published": self.published.isoformat(timespec="seconds")}


@dataclass(frozen=True)
class Listing:
    """All of a store.

    Attributes:
        releases: the latest first.
        channels: by name.
        broken: what is wrong with each channel and release that cannot be read.
    """

    releases: tuple[Row, ...]
    channels: tuple[Channel, ...]
    broken: tuple[WorkFailedError, ...]


async def _told(job: Awaitable[T], broken: list[WorkFailedError]) -> T | None:
    """What comes of a job; None where it fails, which is put to what is broken."""
    try:
        return await job
    except WorkFailedError as e:
        broken.append(e)
        return None


async def _release(store: ReleaseStore, name: str) -> Release | None:
    content = await store.content(name)
    if content is None:  # a collection was quicker
        return None
    return decode(name, content, f"{store.url}/{layout.manifest(name)}")


async def listing(store: ReleaseStore) -> Listing:
    """Lists what is there. An object that is not what it should be hides no other.

    Raises:
        MissingError: the store cannot be used.
    """
    broken: list[WorkFailedError] = []
    names = await store.channel_names()
    there = await together(_told(store.find_channel(name), broken) for name in names)
    channels = tuple(one[0] for one in there if one)
    rows = await store.list(f"{layout.MANIFESTS}/")
    paths = {row.path for row in rows}
    times = {name: row.modified for row in rows if (name := layout.release_of(row.path))}
    found = [
        Row(
            release.name,
            release.manifest.target,
            release.manifest.triton,
            len(release.manifest.models),
            sum(dict(dict(release.manifest.tree()).values()).values()),
            times[release.name],
            tuple(c.name for c in channels if c.release == release.name),
            layout.attestation(release.name, layout.SIGNATURE) in paths,
        )
        for release in await together(_told(_release(store, name), broken) for name in times)
        if release
    ]
    found.sort(key=lambda row: row.published, reverse=True)
    broken.sort(key=lambda error: error.where or "")
    return Listing(tuple(found), channels, tuple(broken))
