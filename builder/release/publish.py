"""A repository becomes a release: its files first, what is attested of it, its manifest last.

Until the manifest is there, there is no release; and once it is, everything that it names is. A
publication that was cut off is begun again, and finds what had come to the store already. One of
a release that is there uploads what the store has lost since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError
from builder.release import claims, layout, tree
from builder.release.store import read
from builder.remote.ends import SourceError
from builder.remote.failures import UnusableError
from builder.remote.transfers import Transfers
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from builder.release.store import Release, ReleaseStore
    from builder.repository.manifest import Manifest


@dataclass(frozen=True)
class Options:
    """How to publish.

    Attributes:
        attest: says what to put beside the manifest, by kind.
        tree: also lay the release out as plain files, for readers that know no manifest.
        say: told in a line what goes on.
        total: told how many bytes the release has.
        moved: told of bytes that went, or were there.
    """

    attest: Callable[[Release], Mapping[str, bytes]] = lambda _: {}
    tree: bool = False
    say: Callable[[str], None] = lambda _: None
    total: Callable[[int], None] = lambda _: None
    moved: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Published:
    """What a publication came to.

    Attributes:
        release: `sha256:<hex>`.
        target: the target that it is for.
        new: False where the store had it already.
        uploaded: bytes of files that went to the store.
        size: bytes of all files of the release.
    """

    release: str
    target: str
    new: bool
    uploaded: int
    size: int


async def publish(repository: Path, store: ReleaseStore, options: Options) -> Published:
    """Publishes a repository.

    Raises:
        InputError: there is none, or a version in it has no passing verdict.
        WorkFailedError: a file is not as it was built, or a version was published before with
            other bytes.
        MissingError: the store cannot be used.
    """
    release = proven(repository)
    blobs = _blobs(repository, release.manifest)
    size = sum(size for _, size in blobs.values())
    options.total(size)
    attested = options.attest(release)
    if options.tree:
        tree.check(release)
    async with store.under_way(release.name, release.content, options.say):
        there = await store.content(release.name)
        new = there is None
        if new:
            await claims.check(store, release)
        uploaded = await _upload(store, repository, blobs, options.moved)
        if new:
            await claims.stake(store, release)
        for kind, content in attested.items():
            path = layout.attestation(release.name, kind)
            await store.ask(store.bucket.put(path, content))
        if there != release.content:
            await _seal(store, release, there)
        if options.tree:
            await tree.lay_out(store, release, repository)
    return Published(release.name, release.manifest.target, new, uploaded, size)


async def _seal(store: ReleaseStore, release: Release, there: bytes | None) -> None:
    """Puts the manifest, which makes it a release; in the place of what is none, where there is."""
    path = layout.manifest(release.name)
    if there is not None or not await store.ask(store.bucket.create(path, release.content)):
        await store.ask(store.bucket.put(path, release.content))
    await store.delete([layout.gone(release.name)])


def proven(repository: Path) -> Release:
    """What a repository is as a release.

    Raises:
        InputError: nothing is built there, or a version has no passing verdict.
    """
    place = f"{repository.parent.name}/{repository.name}"
    try:
        content = (repository / manifests.FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as e:
        raise InputError(
            "nothing is built here",
            where=place,
            expected=f"a repository with its {manifests.FILE}",
            fix="triton-builder build",
        ) from e
    release = read(content, f"{place}/{manifests.FILE}")
    unproven = [
        f"{model} {version}: {own.verdict.get('reason', 'a check failed')}"
        for model, entry in release.manifest.models.items()
        for version, own in entry.versions.items()
        if own.verdict.get("passed") is not True
    ]
    if unproven or not release.manifest.models:
        raise InputError(
            "not every version here has a passing verdict",
            where=place,
            found="; ".join(unproven[:5]) or "no model at all",
            expected="a repository that was proven on a live server",
            fix="triton-builder build, without --no-validate",
        )
    return release


def _blobs(repository: Path, manifest: Manifest) -> dict[str, tuple[Path, int]]:
    """Where each file's bytes lie here, by digest, with their size.

    Raises:
        WorkFailedError: a file is not there, or has another size.
    """
    blobs = {}
    for name, (digest, size) in manifest.tree():
        path = repository / name
        try:
            found: object = path.stat().st_size
        except OSError as e:
            found = e.strerror
        if found != size:
            raise _changed(repository, name, f"{found}", f"{size} bytes")
        blobs[digest] = (path, size)
    return blobs


async def _upload(
    store: ReleaseStore,
    repository: Path,
    blobs: Mapping[str, tuple[Path, int]],
    moved: Callable[[int], None],
) -> int:
    """Brings the files there that are not; how many bytes went.

    Raises:
        WorkFailedError: a file here does not have its digest; it does not go.
    """
    transfers = Transfers(store.bucket, moved)
    try:
        return await transfers.give((digest, path) for digest, (path, _) in blobs.items())
    except SourceError as e:
        path = blobs[str(e)][0]
        name = path.relative_to(repository).as_posix()
        raise _changed(repository, name, "other bytes", f"sha256 {e}") from e
    except UnusableError as e:
        raise store.unusable(e) from e


def _changed(repository: Path, name: str, found: str, expected: str) -> WorkFailedError:
    return WorkFailedError(
        "a file is not as it was built",
        where=f"{repository.parent.name}/{repository.name}/{name}",
        found=found,
        expected=expected,
        fix="triton-builder build, which puts it right; nothing was published",
    )
