"""Is a release, in its store or in a folder, what was published? Reads every byte."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError
from builder.files import sha256
from builder.release import layout, pull
from builder.release.place import state_of
from builder.release.store import read
from builder.remote.limits import PART, WIDTH
from builder.remote.tasks import to_its_end, together
from builder.repository import manifest as manifests
from builder.repository import swap

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

    from builder.release.store import Release, ReleaseStore
    from builder.release.trust import Trust


@dataclass(frozen=True)
class Verified:
    """What was found to be right.

    Attributes:
        release: `sha256:<hex>`.
        files: how many.
        size: their bytes.
        provenance: whether whoever is trusted signed the provenance as well.
        without: models of the release that a folder does not hold, and need not.
    """

    release: str
    files: int
    size: int
    provenance: bool = False
    without: tuple[str, ...] = ()


async def in_store(
    store: ReleaseStore,
    name: str,
    trust: Trust,
    moved: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Reads a release in its store: signature, manifest, every byte of every file.

    Raises:
        InputError: there is no such release.
        WorkFailedError: something is not as it was published; all that is wrong is named.
    """
    import asyncio

    release = await pull.find(store, name, trust.check if trust else None)
    kinds = ("provenance", "provenance.sig") if trust else ()
    attested = {kind: await store.attestation(release.name, kind) for kind in kinds}
    provenance = trust.check_provenance(release, attested)
    files = {file: path for path, file in release.manifest.tree()}
    lane = asyncio.Semaphore(WIDTH)
    found = await together(_blob(store, lane, digest, size, moved) for digest, size in files)
    wrong = [
        f"{files[file]}: {problem}" for file, problem in zip(files, found, strict=True) if problem
    ]
    if wrong:
        raise WorkFailedError(
            "the release is not in the store as it was published",
            where=f"{store.url}, {release.name[:19]}",
            found="; ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if wrong[5:] else ""),
            fix="remove such objects, and publish the release again: what is missing is uploaded",
        )
    names = dict(release.manifest.tree())
    size = sum(size for _, size in names.values())
    return Verified(release.name, len(names), size, provenance)


async def _blob(
    store: ReleaseStore,
    lane: asyncio.Semaphore,
    digest: str,
    size: int,
    moved: Callable[[int], None],
) -> str | None:
    """What is wrong with a file in the store."""
    path, total, start = layout.blob(digest), hashlib.sha256(), 0
    async with lane:
        there = await store.ask(store.bucket.size(path))
        if there != size:
            return "missing" if there is None else f"{there} bytes instead of {size}"
        while start < size:
            part = await store.ask(store.bucket.part(path, start, min(PART, size - start)))
            if part is None or not any(part):
                break
            for piece in part:
                await to_its_end(total.update, piece)
                moved(len(piece))
                start += len(piece)
    return None if total.hexdigest() == digest else "other bytes"


def in_folder(
    folder: Path,
    trust: Trust,
    signature: bytes | None = None,
    moved: Callable[[int], None] = lambda _: None,
) -> Verified:
    """Reads a folder that a release was pulled or built into: every byte of every file.

    Raises:
        InputError: it is none.
        WorkFailedError: files were changed, added or removed.
    """
    try:
        content = (folder / manifests.FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as e:
        raise InputError(
            "no release was pulled into this folder",
            where=str(folder),
            expected=f"a {manifests.FILE}",
        ) from e
    release = read(content, f"{folder}/{manifests.FILE}")
    trust.check(release, signature)
    models = release.manifest.models.keys() & _held(folder, release)
    without = sorted(release.manifest.models.keys() - models)
    manifest = release.manifest.only(models) if without else release.manifest

    def digest(path: str) -> str:
        found = sha256(path)
        moved(os.stat(path).st_size)  # noqa: PTH116 - as it came
        return found

    wrong = swap.differences(folder, manifest, digest)
    if wrong:
        raise WorkFailedError(
            "files are not as they were released",
            where=str(folder),
            found=", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if wrong[5:] else ""),
            expected=f"the files of {manifests.FILE}, unchanged, and nothing else",
            fix="pull it again",
        )
    files = dict(manifest.tree())
    size = sum(size for _, size in files.values())
    return Verified(release.name, len(files), size, without=tuple(without))


def _held(folder: Path, release: Release) -> set[str]:
    """The models that a folder should hold: what was pulled into it, or else what it holds."""
    pulled = state_of(folder)
    if pulled.release == release.name:
        return set(pulled.models)
    return {path.name for path in folder.iterdir() if path.is_dir()}


async def signature_of(store: ReleaseStore, folder: Path) -> bytes | None:
    """The signature that a store has of what a folder says it is."""
    try:
        content = (folder / manifests.FILE).read_bytes()
    except OSError:
        return None
    return await store.attestation(
        f"sha256:{hashlib.sha256(content).hexdigest()}", layout.SIGNATURE
    )
