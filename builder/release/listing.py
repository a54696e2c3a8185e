"""What a release store holds, for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.release import layout
from builder.release.store import decode
from builder.remote.tasks import together

if TYPE_CHECKING:
    from datetime import datetime

    from builder.release.channel import Channel
    from builder.release.store import Release, ReleaseStore


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


async def _release(store: ReleaseStore, name: str) -> Release | None:
    content = await store.content(name)
    if content is None:  # a collection was quicker
        return None
    return decode(name, content, f"{store.url}/{layout.manifest(name)}")


async def listing(store: ReleaseStore) -> tuple[list[Row], list[Channel]]:
    """Releases, the latest first, and channels."""
    channels = await store.all_channels()
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
        for release in await together(_release(store, name) for name in times)
        if release
    ]
    return sorted(found, key=lambda row: row.published, reverse=True), channels
