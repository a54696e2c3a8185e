"""A release becomes a folder that Triton serves: whole, verified, swapped in at one go.

Every byte is hashed on its way in. What lies in the cache is hashed again before it enters a tree,
since others may write to a node's cache; what the present tree holds unchanged is not.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.files import link_or_copy, remove, sha256, sync_file, write_atomically
from builder.release import layout
from builder.release.place import Place, disks
from builder.remote.failures import UnusableError
from builder.remote.tasks import to_its_end
from builder.remote.transfers import Transfers
from builder.repository import manifest as manifests
from builder.repository import swap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from builder.release.store import Release, ReleaseStore
    from builder.repository.manifest import Manifest

HASHERS = 2
"""Files hashed at the same time."""

SYNCS = 8
"""Files synced at the same time: the disk does several in one go."""


@dataclass(frozen=True)
class Options:
    """How to pull.

    Attributes:
        models: these only, with the members of ensembles; all if none.
        cache: see `Place`.
        check: refuses a release, given its signature, if it has one; None for no check.
        say: told in a line what goes on.
        total: told how many bytes the release has.
        moved: told of bytes that came, or were here.
    """

    models: Collection[str] = ()
    cache: Path | None = None
    check: Callable[[Release, bytes | None], None] | None = None
    say: Callable[[str], None] = lambda _: None
    total: Callable[[int], None] = lambda _: None
    moved: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Pulled:
    """What a pull came to.

    Attributes:
        release: `sha256:<hex>`.
        models: those that the folder holds.
        size: bytes of all files.
        changed: False where the folder held it already.
        downloaded: bytes that came from the store.
    """

    release: str
    models: tuple[str, ...]
    size: int
    changed: bool
    downloaded: int = 0


async def pull(store: ReleaseStore, name: str, folder: Path, options: Options) -> Pulled:
    """Brings a folder to a release.

    Args:
        store: where releases are.
        name: a channel's, a release's, or the start of one.
        folder: what Triton is given.
        options: how.

    Raises:
        InputError: there is no such release, channel or model, or the folder is none of ours.
        WorkFailedError: what came is not what was published; the folder is as it was.
        MissingError: the store cannot be used.
    """
    with disks(folder):
        place = Place(folder, options.cache)
    release = await find(store, name, options.check)
    manifest = release.manifest.only(options.models) if options.models else release.manifest
    size = sum(size for _, (_, size) in manifest.tree())
    models = tuple(sorted(manifest.models))
    with disks(place.folder.parent), place.claim(options.say):
        if place.holds(release, manifest):
            return Pulled(release.name, models, size, changed=False)
        with swap.staging(place.folder) as tree:
            downloaded = await stage(store, release, manifest, place, tree, options)
            place.exchange(tree, release, manifest)
        place.tidy(manifest)
    return Pulled(release.name, models, size, changed=True, downloaded=downloaded)


async def find(
    store: ReleaseStore, name: str, check: Callable[[Release, bytes | None], None] | None
) -> Release:
    """The release of a name, its signature verified where that is asked for."""
    release = await store.release(await store.resolve(name))
    if check:
        check(release, await store.attestation(release.name, layout.SIGNATURE))
    return release


async def stage(  # noqa: PLR0913 - all that a tree is made of
    store: ReleaseStore,
    release: Release,
    manifest: Manifest,
    place: Place,
    tree: Path,
    options: Options,
) -> int:
    """Makes a release's tree beside the folder; how many bytes came from the store.

    Raises:
        WorkFailedError: a file could not be had as it was published.
    """
    files = dict(manifest.tree())
    sizes = dict(files.values())
    options.total(sum(sizes.values()))
    known = place.verified()
    here = known.keys() | await to_its_end(_whole, place, sizes.keys() - known.keys())
    options.moved(sum(size for digest, size in sizes.items() if digest in here))
    missing = {digest: size for digest, size in sizes.items() if digest not in here}
    await _download(store, place, missing, files, options.moved)
    await to_its_end(_sync, [place.blob(digest) for digest in sizes.keys() - known.keys()])
    await to_its_end(_lay_out, place, files, known, tree)
    write_atomically(tree / manifests.FILE, release.content)
    return sum(missing.values())


def _whole(place: Place, digests: Collection[str]) -> set[str]:
    """Those that the cache has, with every byte as it should be; others are dropped from it."""

    def one(digest: str) -> bool:
        path = place.blob(digest)
        try:
            if not path.is_symlink() and sha256(path) == digest:
                return True
        except FileNotFoundError:
            return False
        except OSError:  # a folder, or one that cannot be read
            pass
        remove(path)
        return False

    with ThreadPoolExecutor(HASHERS, "hash") as pool:
        return {d for d, whole in zip(digests, pool.map(one, digests), strict=True) if whole}


async def _download(
    store: ReleaseStore,
    place: Place,
    missing: Mapping[str, int],
    files: Mapping[str, tuple[str, int]],
    moved: Callable[[int], None],
) -> None:
    """Brings files into the cache.

    Raises:
        WorkFailedError: one is not there, or is not what was published.
    """
    arrived: set[str] = set()
    transfers = Transfers(store.bucket, moved)
    wanted = [(digest, size, place.blob(digest)) for digest, size in missing.items()]
    try:
        await transfers.fetch(wanted, arrived, resume=True, durable=False)
    except UnusableError as e:
        raise store.unusable(e) from e
    lost = missing.keys() - arrived
    if not lost:
        return
    digest = min(lost, key=lambda d: (d not in transfers.corrupt, d))
    name = next(name for name, (d, _) in files.items() if d == digest)
    where = f"{store.url}/{layout.blob(digest)}"
    expected = f"the {missing[digest]} bytes of {name} with this sha256"
    if digest in transfers.corrupt:
        raise WorkFailedError(
            "a file in the store is not what was published",
            where=where,
            found="other bytes",
            expected=expected,
            fix="nothing was changed here; if triton-builder verify finds the same, remove that "
            "object and publish the release again",
        )
    raise WorkFailedError(
        "a file of the release is not in the store",
        where=where,
        expected=expected,
        fix="nothing was changed here; publish the release again where it was built",
    )


def _sync(files: Collection[Path]) -> None:
    """Has files on the disk: those that came, and those that a pull left that was cut off."""
    with ThreadPoolExecutor(SYNCS, "sync") as pool:
        for _ in pool.map(sync_file, files):
            pass


def _lay_out(
    place: Place, files: Mapping[str, tuple[str, int]], known: Mapping[str, Path], tree: Path
) -> None:
    """Links files into a tree: those of the present tree, and those of the cache.

    Raises:
        WorkFailedError: a file changed while it was copied, where it cannot be linked.
    """
    for name, (digest, _) in files.items():
        source, target = known.get(digest) or place.blob(digest), tree / name
        link_or_copy(source, target)
        if os.path.samestat(source.lstat(), target.lstat()):
            continue
        if sha256(target) != digest:
            raise WorkFailedError("a file changed meanwhile", where=str(source), fix="pull again")
        with target.open("rb") as copy:
            os.fsync(copy.fileno())
