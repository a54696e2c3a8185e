"""Collecting garbage: what was not used for long goes, the longest unused first.

Kept, whatever the limits: what a repository stands for, and all that was used since the oldest
build that still runs began. Other builds go on meanwhile: the gate is shut for one
record at a time (see `leases`). Spare trees of repositories go, since they hold on to the space of
files that the store has dropped; so do sources of builds elsewhere that nobody works on any more.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.files import remove
from builder.repository import manifest as manifests
from builder.repository import swap
from builder.store.store import sources

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from builder.store.store import Store


@dataclass(frozen=True)
class Limits:
    """What may stay.

    Attributes:
        size: bytes of all blobs; None for any number.
        age: seconds since a result was last used; None for any time.
    """

    size: int | None = None
    age: float | None = None


@dataclass
class Collected:
    """What went, and what stays, in records, blobs and bytes; and trees of sources that went."""

    records: int = 0
    blobs: int = 0
    bytes: int = 0
    left: int = 0
    sources: int = 0


@dataclass
class _Collection:
    """One pass: what is kept by all means, and how often each blob is referred to."""

    store: Store
    limits: Limits
    dry: bool
    horizon: float
    keys: set[str]
    digests: set[str]
    uses: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, set[str]] = field(default_factory=dict)
    gone: Collected = field(default_factory=Collected)


def collect(store: Store, limits: Limits, *, dry: bool = False) -> Collected:
    """Drops what exceeds the limits, and blobs that nothing refers to.

    Args:
        store: the store; of any project.
        limits: what may stay.
        dry: only says what would go.
    """
    leases = store.leases
    for repository in () if dry else store.roots.repositories():
        swap.drop_spare(repository)
    with leases.take():
        with leases.shut():
            horizon = leases.oldest()
        assert horizon is not None  # noqa: S101 - we hold a lease ourselves
        work = _Collection(store, limits, dry, horizon, *_kept(store))
        records = sorted(store.records, key=lambda item: item[1].st_mtime)
        work.sizes = {digest: stat.st_size for digest, stat in store.blobs}
        work.gone.left = sum(work.sizes.values())
        for key, _ in records:
            rows = store.records.of(key)
            work.outputs[key] = {digest for row in rows for digest, _ in row.outputs.values()}
            work.uses.update(work.outputs[key])
        for digest in list(work.sizes):
            if not work.uses[digest]:
                _drop_blob(work, digest)
        for key, stat in records:
            if _exceeds(work, stat):
                _drop_record(work, key)
        trees = sources(store.root)
        for tree in list(trees.iterdir()) if trees.is_dir() else ():
            _drop_sources(work, tree)
        return work.gone


def _kept(store: Store) -> tuple[set[str], set[str]]:
    """Keys and digests that repositories stand for."""
    keys, digests = set[str](), set[str]()
    for root in store.roots:
        keys |= root.keys
        with contextlib.suppress(WorkFailedError):  # of another version: its keys say it all
            manifest = manifests.read(root.repository)
            digests |= {sha for _, (sha, _) in manifest.tree()} if manifest else set()
    for key in keys:
        for record in store.records.of(key):
            digests |= {digest for digest, _ in record.outputs.values()}
    return keys, digests


def _exceeds(work: _Collection, stat: os.stat_result) -> bool:
    old = work.limits.age is not None and stat.st_mtime < work.horizon - work.limits.age
    return old or (work.limits.size is not None and work.gone.left > work.limits.size)


def _drop_record(work: _Collection, key: str) -> None:
    path = work.store.records.path(key)
    if key in work.keys or not _dropped(work, path.stat, lambda: work.store.records.drop(key)):
        return
    work.gone.records += 1
    for digest in work.outputs[key]:
        work.uses[digest] -= 1
        if not work.uses[digest] and digest in work.sizes:
            _drop_blob(work, digest)


def _drop_blob(work: _Collection, digest: str) -> None:
    path = work.store.blobs.path(digest)
    if digest in work.digests or not _dropped(
        work, path.stat, lambda: work.store.blobs.drop(digest)
    ):
        return
    size = work.sizes[digest]
    work.gone.blobs += 1
    work.gone.bytes += size
    work.gone.left -= size


def _drop_sources(work: _Collection, folder: Path) -> None:
    """Drops a tree that was not used for long; one whose making was cut off has a hidden name."""
    gone = folder.with_name(f".gone-{folder.name}")
    with contextlib.suppress(FileNotFoundError):  # somebody else was first
        young = folder.stat().st_mtime >= work.horizon - (work.limits.age or 0)
        if not young and _dropped(work, folder.stat, lambda: folder.rename(gone)):
            work.gone.sources += not folder.name.startswith(".")
            remove(gone)


def _dropped(
    work: _Collection, stat: Callable[[], os.stat_result], drop: Callable[[], object]
) -> bool:
    """Drops a file unless it was used since the horizon: looked at and dropped in one go."""
    with work.store.leases.shut():
        try:
            if stat().st_mtime >= work.horizon:
                return False
        except FileNotFoundError:
            return False
        if not work.dry:
            drop()
    return True
