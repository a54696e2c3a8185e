"""What nobody needs any more goes from a release store: mark and sweep.

Marked, and kept: what a channel names or named within the window, what was published or is under
way since the window began, and all files of these. A publication that begins meanwhile waits, and
one that began before is seen (see `ReleaseStore.under_way`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from builder.errors import BuilderError, WorkFailedError
from builder.release import layout, tree
from builder.release.store import COLLECTION_LASTS, SMALL
from builder.remote.tasks import together
from builder.repository.manifest import FILE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from builder.release.store import ReleaseStore
    from builder.remote.bucket import Listed

MARGIN = timedelta(minutes=2)
"""A collection ends so long before others stop waiting for it."""

FORGOTTEN = timedelta(days=7)
"""A publication that is under way for so long has died."""

COLLECTION_ENDS = 2.0
"""Seconds for saying so."""

SOME = 500
"""Objects removed at once."""


@dataclass(frozen=True)
class Collected:
    """What went, or would go.

    Attributes:
        releases: names of releases.
        objects: how many objects in all.
        bytes: their bytes.
        kept: names of the releases that stay.
    """

    releases: tuple[str, ...]
    objects: int
    bytes: int
    kept: tuple[str, ...]


async def collect(
    store: ReleaseStore,
    window: timedelta,
    *,
    grace: timedelta = timedelta(days=1),
    dry: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Collected:
    """Drops releases that no channel was at within the window, and files that no release has.

    Args:
        store: where they are.
        window: how long a channel remembers where it was, and how long a release stays that no
            channel was ever at.
        grace: files without a release that are younger stay: their publication may be at work.
        dry: only find out.
        say: told in a line what goes on.

    Raises:
        WorkFailedError: another collection is under way; or it takes too long, and goes on when
            it is called again.
    """
    if dry:
        return await _collect(store, window, grace, None)
    async with _alone(store) as end:
        say("marking what is in use")
        return await _collect(store, window, grace, end)


async def _collect(
    store: ReleaseStore, window: timedelta, grace: timedelta, end: datetime | None
) -> Collected:
    now = datetime.now(UTC)
    if end and (theirs := await store.ask(store.bucket.modified(layout.COLLECTION))):
        now = min(now, theirs)  # a clock here that is ahead would make what is young old
    # marks first: what loses its mark after this has left its channel and its manifest before
    named, needed = await _under_way(store, now)
    rows = await store.list("")
    manifests = {name: row for row in rows if (name := layout.release_of(row.path))}
    for channel in await store.all_channels():
        named |= channel.since(now - window) | {channel.release, *channel.below()[:1]}
    kept = {n for n, row in manifests.items() if n in named or now - row.modified < window}
    for release in await together(store.release(name) for name in sorted(kept)):
        needed |= {digest for _, (digest, _) in release.manifest.tree()}
    dropped = manifests.keys() - kept
    doomed = [row for row in rows if _doomed(row, kept | named, needed, now - grace)]
    doomed.sort(key=lambda row: not row.path.endswith(f"/{FILE}"))  # trees lose what says whole
    found = Collected(
        tuple(sorted(dropped)),
        len(doomed) + len(dropped),
        sum(row.size for row in doomed),
        tuple(sorted(kept)),
    )
    if end:
        # nobody finds a release any more, before its files go
        paths = [layout.manifest(name) for name in sorted(dropped)]
        paths += [row.path for row in doomed]
        for start in range(0, len(paths), SOME):
            some = paths[start : start + SOME]
            if datetime.now(UTC) > end:
                raise WorkFailedError(
                    "the collection takes too long for those who wait for it",
                    where=store.url,
                    found=f"{len(paths) - start} objects are left",
                    fix="call it again: it goes on where it was",
                )
            gone = [layout.gone(name) for path in some if (name := layout.release_of(path))]
            await together(store.ask(store.bucket.put(path, b"{}\n")) for path in gone)
            await store.delete(some)
    return found


async def _under_way(store: ReleaseStore, now: datetime) -> tuple[set[str], set[str]]:
    """Releases and files that publications and moves under way need.

    Raises:
        WorkFailedError: one does not say what it needs.
    """
    rows = await store.list(f"{layout.PENDING}/")
    paths = [row.path for row in rows if now - row.modified < FORGOTTEN]
    marks = await together(store.ask(store.bucket.get(path, SMALL)) for path in paths)
    names, blobs = set[str](), set[str]()
    for path, content in zip(paths, marks, strict=True):
        if content is None:
            continue
        try:
            value = json.loads(content)
            names.add(value["release"])
            blobs |= set(value["blobs"] or ())
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise WorkFailedError(
                "what is under way does not say what it needs",
                where=f"{store.url}/{path}",
                found=repr(e)[:200],
                fix="nothing was dropped; see who wrote this object, and remove it",
            ) from e
    return names, blobs


def _doomed(row: Listed, kept: set[str], needed: set[str], before: datetime) -> bool:
    """Whether an object goes, that is no release's manifest."""
    part, _, rest = row.path.partition("/")
    if part == layout.BLOBS:
        return rest.rpartition("/")[2] not in needed and row.modified < before
    if part == layout.TREES:
        return not tree.keys([row.path]) & kept and row.modified < before
    if part == layout.MANIFESTS and not layout.release_of(row.path):
        release = rest.partition(".")[0].replace("-", ":", 1)
        return release not in kept and row.modified < before
    return part == layout.PENDING and row.modified < before - FORGOTTEN


@asynccontextmanager
async def _alone(store: ReleaseStore) -> AsyncIterator[datetime]:
    """Has publications wait, and gives the time until which they do.

    Raises:
        WorkFailedError: another collection is under way.
    """
    began = datetime.now(UTC)
    content = json.dumps({"began": began.isoformat(), "by": secrets.token_hex(8)}).encode()
    if not await store.ask(store.bucket.create(layout.COLLECTION, content)):
        there = await store.ask(store.bucket.read(layout.COLLECTION, SMALL))
        mine = (
            there is not None
            and not await store.collecting()
            and await store.ask(store.bucket.replace(layout.COLLECTION, content, there.tag))
        )
        if not mine:
            raise WorkFailedError(
                "another collection is under way",
                where=f"{store.url}/{layout.COLLECTION}",
                fix=f"wait until it is done; if it died, {COLLECTION_LASTS} at most",
            )
    try:
        yield began + COLLECTION_LASTS - MARGIN
    finally:
        if datetime.now(UTC) < began + COLLECTION_LASTS:  # else it may be another's by now
            with suppress(BuilderError, TimeoutError):
                async with asyncio.timeout(COLLECTION_ENDS):
                    await store.delete([layout.COLLECTION])
