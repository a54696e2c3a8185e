"""A published version never changes: which bytes it is, is claimed once and for ever.

A claim names the release that made it. One whose release never came to be (its publisher died
between claim and manifest) may be taken over, after a while in which nobody could still be at it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from builder.errors import BuilderError, SeveralError, WorkFailedError
from builder.release import layout
from builder.release.store import SMALL
from builder.remote.tasks import together

if TYPE_CHECKING:
    from builder.release.store import Release, ReleaseStore
    from builder.repository.manifest import ModelEntry

CONFIG = "config.pbtxt"
OWN_CONFIG = f"../{CONFIG}"

ABANDONED = timedelta(minutes=15)
"""No publication takes so long between its claims and its manifest: some small requests."""


async def check(store: ReleaseStore, release: Release) -> None:
    """Refuses a release that gives a published version other bytes.

    Raises:
        WorkFailedError: it does.
    """
    wrong = await together(
        _one(store, release, model, version, write=False) for model, version in _versions(release)
    )
    errors = [error for error in wrong if error]
    if errors:
        raise SeveralError.of(errors)


async def stake(store: ReleaseStore, release: Release) -> None:
    """Claims every version of a release.

    One after the other, and all publishers in the same order: of those that claim the same
    versions at the same time one gets all of its own, where else each could be in another's way.

    Raises:
        WorkFailedError: somebody was quicker, with other bytes.
    """
    for model, version in sorted(await _unclaimed(store, release)):
        error = await _one(store, release, model, version, write=True)
        if error:
            raise error


def bytes_of(entry: ModelEntry, version: str) -> dict[str, str]:
    """What a version's bytes are: digest by file. An ensemble is what its config says."""
    own = entry.versions[version]
    files = {name: digest for name, (digest, _) in own.files.items()}
    if entry.members:
        files[OWN_CONFIG] = entry.files[CONFIG][0]
    return files


def _versions(release: Release) -> list[tuple[str, str]]:
    return [(m, v) for m, entry in release.manifest.models.items() for v in entry.versions]


async def _unclaimed(store: ReleaseStore, release: Release) -> list[tuple[str, str]]:
    """Models' versions that nobody claimed as these bytes."""

    async def claimed(model: str, version: str) -> bool:
        path = layout.claim(release.manifest.target, model, version)
        there = await store.ask(store.bucket.get(path, SMALL))
        files = bytes_of(release.manifest.models[model], version)
        return there is not None and _decode(there).get("files") == files

    versions = _versions(release)
    found = await together(claimed(*version) for version in versions)
    return [version for version, done in zip(versions, found, strict=True) if not done]


async def _one(
    store: ReleaseStore, release: Release, model: str, version: str, *, write: bool
) -> BuilderError | None:
    manifest = release.manifest
    path = layout.claim(manifest.target, model, version)
    files = bytes_of(manifest.models[model], version)
    content = json.dumps(
        {
            "schema": 1,
            "release": release.name,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": files,
        },
        indent=2,
    ).encode()
    there = await store.ask(store.bucket.read(path, SMALL))
    if there is None:
        if not write or await store.ask(store.bucket.create(path, content)):
            return None
        there = await store.ask(store.bucket.read(path, SMALL))
        if there is None:
            return _refused(store, path, {}, model, version, files)
    known = _decode(there.content)
    claim = await _whole(store, known, model, version, files)
    if claim.get("files") == files:
        if write and claim is not known:
            whole = json.dumps(claim, indent=2).encode()
            await store.ask(store.bucket.replace(path, whole, there.tag))
        return None
    if await _abandoned(store, claim) and (
        not write or await store.ask(store.bucket.replace(path, content, there.tag))
    ):
        return None
    return _refused(store, path, claim, model, version, files)


async def _whole(
    store: ReleaseStore, claim: dict[str, Any], model: str, version: str, files: dict[str, str]
) -> dict[str, Any]:
    """A claim of an ensemble with its config, which the first ones did not name.

    It is what the release has that made the claim; where that is gone, nobody can say any more.
    """
    before: dict[str, str] = claim.get("files") or {}
    if not before or OWN_CONFIG not in files or OWN_CONFIG in before:
        return claim
    release = str(claim.get("release"))
    if not layout.is_release(release) or not await store.has(release):
        return {**claim, "files": {**before, OWN_CONFIG: files[OWN_CONFIG]}}
    made = (await store.release(release)).manifest.models.get(model)
    if made is None or version not in made.versions:
        return claim
    return {**claim, "files": bytes_of(made, version)}


async def _abandoned(store: ReleaseStore, claim: dict[str, Any]) -> bool:
    """Whether the release that made a claim never came to be, and cannot any more."""
    try:
        age = datetime.now(UTC) - datetime.fromisoformat(claim["at"])
        release = str(claim["release"])
    except (KeyError, ValueError, TypeError):
        return False
    if age < ABANDONED or not layout.is_release(release) or await store.has(release):
        return False
    return await store.ask(store.bucket.size(layout.gone(release))) is None


def _decode(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) and isinstance(value.get("files"), dict) else {}


def _refused(  # noqa: PLR0913 - what the message says
    store: ReleaseStore,
    path: str,
    claim: dict[str, Any],
    model: str,
    version: str,
    files: dict[str, str],
) -> WorkFailedError:
    before: dict[str, str] = claim.get("files") or {}
    ensemble = OWN_CONFIG in files
    spec = f"ensembles/{model}/ensemble.yaml" if ensemble else f"models/{model}/model.yaml"
    names = sorted(n for n in before.keys() | files.keys() if before.get(n) != files.get(n))
    return WorkFailedError(
        f"{model} {version} was published before, with other bytes",
        where=f"{store.url}/{path}",
        found=", ".join(n.removeprefix("../") for n in names[:3]) + " differ"
        if before
        else "a claim that says nothing",
        expected=f"the bytes of release {str(claim.get('release'))[:19]}" if before else None,
        fix=f"give it a new version in {spec}: a published version never changes",
    )
