"""A release as plain files in the store, for readers that know no manifest.

Those are Triton's own `s3://` and volumes that mount a bucket. Triton takes a model for there as
soon as it sees its config: so version folders come first, and configs after them; the manifest
last says that all is there. A tree is never changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError
from builder.release import layout
from builder.remote.ends import Departure, SourceError
from builder.remote.failures import UnusableError
from builder.remote.tasks import together
from builder.repository.manifest import FILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from builder.release.store import Release, ReleaseStore

COPIED = 4 << 30
"""Up to this size a store copies an object by itself: S3 does up to 5 GiB."""

CONFIG = "config.pbtxt"


def check(release: Release) -> None:
    """Refuses a release that cannot lie in a store as plain files.

    Raises:
        InputError: a name has characters that Triton's S3 client takes for something else, or a
            file is empty, which some stores and mounts lose.
    """
    for name, (_, size) in release.manifest.tree():
        if not layout.fits(name):
            raise InputError(
                "a file's name is none for plain files in a store",
                where=name,
                expected="0-9 A-Z a-z . _ / -",
                fix="rename it, or publish without --tree and let pods pull",
            )
        if not size:
            raise InputError(
                "an empty file gets lost in some stores",
                where=name,
                fix="write something into it, or publish without --tree and let pods pull",
            )


def order(release: Release) -> list[list[str]]:
    """Files in the order in which they must come: all of a step before any of the next."""
    names = [name for name, _ in release.manifest.tree()]
    configs = [name for name in names if name.endswith(f"/{CONFIG}") and name.count("/") == 1]
    return [sorted(set(names) - set(configs)), sorted(configs)]


async def lay_out(store: ReleaseStore, release: Release, repository: Path) -> None:
    """Lays a release out; what an earlier attempt left, or lost since, is finished.

    Args:
        store: where its files lie by digest.
        release: what to lay out; checked.
        repository: where the same files lie here, for those that no store copies.
    """
    root = layout.tree(release.name)
    marker = f"{root}/{FILE}"
    files = dict(release.manifest.tree())
    there = {row.path: row.size for row in await store.list(f"{root}/")}
    missing = {name for name, (_, size) in files.items() if there.get(f"{root}/{name}") != size}
    for step in order(release):
        await together(_place(store, files[name], f"{root}/{name}", repository / name)
                       for name in step if name in missing)  # fmt: skip
    if there.get(marker) != len(release.content):
        await store.ask(store.bucket.put(marker, release.content))


async def _place(store: ReleaseStore, file: tuple[str, int], target: str, here: Path) -> None:
    digest, size = file
    if size <= COPIED:
        if not await store.ask(store.bucket.copy(layout.blob(digest), target, size)):
            raise WorkFailedError(
                "a file of the release is not in the store",
                where=f"{store.url}/{layout.blob(digest)}",
                fix="publish again: what is missing is uploaded",
            )
        return
    try:
        with Departure(here, digest) as source:
            await store.ask(store.bucket.upload(target, source, size))
    except (SourceError, UnusableError) as e:
        raise WorkFailedError("a file is not as it was built", where=str(here)) from e


def keys(paths: Iterable[str]) -> set[str]:
    """The releases whose plain files these objects are."""
    found = set[str]()
    for path in paths:
        parts = path.split("/")
        if parts[0] == layout.TREES and len(parts) > 1:
            found.add(parts[1].replace("-", ":", 1))
    return found
