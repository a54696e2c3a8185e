"""A release store: a bucket or a folder, in the words of releases.

Everything that goes wrong at the store becomes an error with a fix here, once.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.release import channel as channels
from builder.release import layout
from builder.remote.bucket import Bucket
from builder.remote.cache import check_url, shown
from builder.remote.failures import UnusableError
from builder.remote.limits import Limits
from builder.remote.tasks import together
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from builder.release.channel import Channel
    from builder.remote.bucket import Listed, Object
    from builder.repository.manifest import Manifest

T = TypeVar("T")

LIMITS = Limits(connect=5.0, answer=30.0, retries=30)
"""A release is worth waiting for: a store may be away for some ten seconds, and restart."""

SMALL = 64 << 20
"""No manifest, channel or attestation has more bytes."""

AT_ONCE = 64
"""Small requests on their way at the same time."""

COLLECTION_LASTS = timedelta(minutes=10)
"""A collection that is older has died, or must end by itself."""

TICK = 1.0

LAWLESS = "it takes no notice of conditions, so that two at work there would undo each other's"
OTHERS = "use a store that keeps If-Match and If-None-Match: S3, Google, Azure, Ceph 20 or newer"

FAREWELL = 1.0
"""Seconds for tidying up at a store after something failed, or somebody asked to stop."""


@dataclass(frozen=True)
class Release:
    """A release as its store has it.

    Attributes:
        name: `sha256:<hex>`, the digest of its manifest's bytes.
        manifest: what it holds.
        content: the manifest's bytes.
    """

    name: str
    manifest: Manifest
    content: bytes


class ReleaseStore:
    """The releases and channels below a URL.

    Args:
        url: `s3://bucket/prefix`, `gs://`, `az://`, `file:///folder`, `memory:///`.
        create: make the folder of a `file://` URL where it is not there.
        limits: how long the store may take.

    Raises:
        InputError: the address is none, or there is no such folder.
        MissingError: the store cannot be opened. So do all methods, where it fails.
    """

    def __init__(self, url: str, *, create: bool = False, limits: Limits = LIMITS) -> None:
        check_url(url)
        self.url = shown(url)
        try:
            self.bucket = Bucket(url, limits, create=create)
        except UnusableError as e:
            raise self.unusable(e) from e
        self._lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
        self._lanes = WeakKeyDictionary()  # a store may serve one loop after another

    def unusable(self, error: UnusableError) -> MissingError:
        """What the store said, as an error of the user's."""
        return MissingError(
            f"the release store cannot be used: {error.reason}", where=self.url, fix=error.fix
        )

    async def ask(self, request: Awaitable[T]) -> T:
        """One request, its failure translated; not more than `AT_ONCE` at a time."""
        lane = self._lanes.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))
        async with lane:
            try:
                return await request
            except UnusableError as e:
                raise self.unusable(e) from e

    # --- releases ----------------------------------------------------------------------

    async def release(self, name: str) -> Release:
        """A release by its name.

        Raises:
            WorkFailedError: its manifest is not what the name says.
            InputError: there is none.
        """
        content = await self.content(name)
        if content is None:
            raise await self._no_release(name)
        return decode(name, content, f"{self.url}/{layout.manifest(name)}")

    async def content(self, name: str) -> bytes | None:
        """What the store has for a release's manifest, whatever that is."""
        return await self.ask(self.bucket.get(layout.manifest(name), SMALL))

    async def has(self, name: str) -> bool:
        """Whether there is such a release."""
        return await self.ask(self.bucket.size(layout.manifest(name))) is not None

    async def names(self) -> list[Listed]:
        """The objects that are manifests of releases, the latest last."""
        rows = await self.list(f"{layout.MANIFESTS}/")
        found = [row for row in rows if layout.release_of(row.path)]
        return sorted(found, key=lambda row: row.modified)

    async def resolve(self, name: str) -> str:
        """The release that a channel's name, a release's, or the start of one means.

        Raises:
            InputError: there is none, or more than one.
        """
        digits = layout.digits(name)
        if digits is None:
            return (await self.channel(name))[0].release
        if whole := layout.whole(digits):
            return whole
        rows = await self.names()
        names = [n for row in rows if (n := layout.release_of(row.path))]
        found = [n for n in names if n.removeprefix("sha256:").startswith(digits)]
        if len(found) == 1:
            return found[0]
        raise InputError(
            "more than one release begins so" if found else "there is no such release",
            where=self.url,
            found=name,
            expected=", ".join(n[:19] for n in (found or names[::-1])[:5]) or "no release is there",
            fix="triton-builder releases shows all",
        )

    async def attestation(self, release: str, kind: str) -> bytes | None:
        """Something attested of a release; None where it was not."""
        return await self.ask(self.bucket.get(layout.attestation(release, kind), SMALL))

    async def _no_release(self, name: str) -> InputError:
        gone = await self.ask(self.bucket.size(layout.gone(name))) is not None
        return InputError(
            "the release was dropped by gc" if gone else "there is no such release",
            where=self.url,
            found=name,
            fix="triton-builder releases shows all; publish it again"
            if gone
            else "triton-builder releases shows all; triton-builder publish makes one",
        )

    # --- channels ----------------------------------------------------------------------

    async def channel(self, name: str) -> tuple[Channel, str]:
        """A channel, and the tag of this state of it.

        Raises:
            InputError: there is none.
        """
        layout.check_channel(name)
        found = await self.find_channel(name)
        if found is None:
            raise InputError(
                "there is no such channel",
                where=self.url,
                found=name,
                expected=", ".join(await self.channel_names()) or "no channel is there",
                fix=f"triton-builder promote RELEASE {name}"
                + (f"; {layout.SIX}" if layout.is_short(name) else ""),
            )
        return found

    async def find_channel(self, name: str) -> tuple[Channel, str] | None:
        """The same; None where there is none."""
        path = layout.channel(name)
        found: Object | None = await self.ask(self.bucket.read(path, SMALL))
        if found is None:
            return None
        return channels.decode(found.content, name, f"{self.url}/{path}"), found.tag

    async def put_channel(self, channel: Channel, tag: str | None) -> bool:
        """Writes a channel if it still has this tag, or is not there where None."""
        path, content = layout.channel(channel.name), channel.encode()
        if tag is None:
            return await self.ask(self.bucket.create(path, content))
        return await self.ask(self.bucket.replace(path, content, tag))

    async def channel_names(self) -> list[str]:
        """What all channels are called."""
        rows = await self.list(f"{layout.CHANNELS}/")
        return [name for row in rows if (name := layout.channel_of(row.path))]

    async def all_channels(self) -> list[Channel]:
        """All channels, by name.

        Raises:
            WorkFailedError: one of them is none.
        """
        found = await together(self.find_channel(name) for name in await self.channel_names())
        return [one[0] for one in found if one]

    # --- what is under way -------------------------------------------------------------

    @asynccontextmanager
    async def under_way(
        self, release: str, manifest: bytes | None, say: Callable[[str], None]
    ) -> AsyncIterator[None]:
        """Keeps a collection from dropping a release, and what it needs, meanwhile.

        Either the collection sees the mark that is put here, or this sees the collection's, and
        waits: each puts its own before it looks for the other's.
        """
        mark = layout.pending(secrets.token_hex(8))
        value = {"release": release, "blobs": sorted(_blobs(manifest)) if manifest else None}
        await self.ask(self.bucket.create(mark, json.dumps(value).encode()))
        patience = None
        try:
            await self._check_conditions(mark)
            told = False
            while await self.collecting():
                if not told:
                    say("releases are being collected there; waiting")
                    told = True
                await asyncio.sleep(TICK)
            yield
        except BaseException:
            patience = FAREWELL
            raise
        finally:  # a mark that stays is swept by a later collection
            with suppress(BuilderError, TimeoutError):
                async with asyncio.timeout(patience):
                    await self.delete([mark])

    async def _check_conditions(self, mark: str) -> None:
        if not await self.ask(self.bucket.keeps_conditions(mark)):
            raise self.unusable(UnusableError(LAWLESS, OTHERS))

    async def collecting(self) -> bool:
        """Whether a collection is under way."""
        found = await self.ask(self.bucket.get(layout.COLLECTION, SMALL))
        if found is None:
            return False
        try:
            began = datetime.fromisoformat(json.loads(found)["began"])
            return abs(datetime.now(UTC) - began) < COLLECTION_LASTS  # clocks may differ
        except (ValueError, KeyError, TypeError, RecursionError):
            return False

    # --- objects -----------------------------------------------------------------------

    async def list(self, prefix: str) -> list[Listed]:
        """All objects below a path that ends at a slash."""
        return await self.ask(self.bucket.list(prefix))

    async def delete(self, paths: Iterable[str]) -> None:
        """Removes objects, also such as are not there."""
        await self.ask(self.bucket.delete(list(paths)))


def read(content: bytes, where: str) -> Release:
    """What a manifest that lies in a folder makes a release."""
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Release(name, manifests.decode(content, where), content)


def decode(name: str, content: bytes, where: str) -> Release:
    """A release out of the bytes that its store has for its manifest.

    Raises:
        WorkFailedError: they are not those that the name says.
    """
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if found != name:
        raise WorkFailedError(
            "the manifest is not the release's",
            where=where,
            found=found,
            expected=name,
            fix="somebody changed it: see who can write there; publish the repository again",
        )
    try:
        return Release(name, manifests.decode(content, where), content)
    except WorkFailedError as e:
        e.fix = "see who published it, and with which version of triton-builder"
        raise


def _blobs(content: bytes) -> set[str]:
    return {digest for _, (digest, _) in manifests.decode(content, "manifest.json").tree()}
