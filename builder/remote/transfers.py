"""What moves between this machine and a bucket: many small things at once, large ones in parts.

    blobs/sha256/ab/<sha256>   the bytes of that digest
    actions/ab/<key>.json      records of actions

Nothing that comes is trusted: a blob gets its place only when its bytes have its digest. Nothing
wrong goes either: a file is read once, for its digest and the store at the same time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from builder.files import disk_errors
from builder.remote import memory
from builder.remote.ends import Arrival, Departure, SourceError, arrive
from builder.remote.failures import UnusableError
from builder.remote.limits import PART, WIDTH
from builder.remote.tasks import end, to_its_end, together

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from pathlib import Path

    from builder.remote.bucket import Bucket

SMALL = 256 << 10
"""Up to this size a blob is small."""

MANY = 64
"""Small requests at once."""

TICK = 0.05
"""Seconds between two looks at whether another process is done with a blob."""

RECORD = 16 << 20
"""No record has more bytes; one that does is none."""


class Transfers:
    """Copies blobs and records to and from a bucket, in a bounded part of memory.

    At most `MANY` small objects are on their way at once, `WIDTH` of up to a `PART`, and one
    larger one with `WIDTH` of its parts.

    Attributes:
        corrupt: digests whose objects there had other bytes; a push of them replaces those.

    Args:
        bucket: the store.
        moved: told of bytes of blobs that came, or went, or need not.
    """

    def __init__(self, bucket: Bucket, moved: Callable[[int], None] = lambda _: None) -> None:
        self._bucket = bucket
        self._moved = moved
        self._many = asyncio.Semaphore(MANY)
        self._some = asyncio.Semaphore(WIDTH)
        self._one = asyncio.Semaphore(1)
        self.corrupt: set[str] = set()

    async def records(self, keys: Iterable[str], found: dict[str, bytes]) -> None:
        """Adds the records of those keys that the bucket has."""

        async def one(key: str) -> None:
            async with self._many:
                record = await self._bucket.get(record_path(key), RECORD)
            if record is not None:
                found[key] = record

        await together(one(key) for key in keys)

    async def fetch(
        self,
        blobs: Iterable[tuple[str, int, Path]],
        arrived: set[str],
        *,
        resume: bool = False,
        durable: bool = True,
    ) -> None:
        """Copies blobs (digest, size, place) here, and adds the digests of those that came whole.

        Args:
            blobs: what to copy.
            arrived: gets the digests.
            resume: whether large ones go on where an earlier call was cut off, and those that
                came wrong are asked for again.
            durable: whether each is on the disk when it has its place. Where not, whoever asks
                sees to that before anybody relies on it: many at once take less time.

        Raises:
            WorkFailedError: the disk here is full.
        """

        async def one(digest: str, size: int, place: Path) -> None:
            async with self._lane(size):
                take = self._fetch_small if size <= PART else self._fetch_large
                if await take(digest, size, place, again=resume, durable=durable):
                    arrived.add(digest)

        with memory.kept():
            await together(one(*blob) for blob in blobs)

    async def give(self, blobs: Iterable[tuple[str, Path]]) -> int:
        """Copies blobs (digest, file) there that are not there.

        Returns:
            how many bytes went.

        Raises:
            SourceError: a file is not what its name says.
        """
        with memory.kept():
            return sum(await together(self._push(*blob) for blob in blobs))

    async def push(self, key: str, record: bytes, blobs: Iterable[tuple[str, Path]]) -> None:
        """Copies blobs (digest, file) there that are not there, and only then the record.

        Raises:
            SourceError: a file is not what its name says; then there is no record.
        """
        await self.give(blobs)
        await self._bucket.put(record_path(key), record)

    def _lane(self, size: int) -> asyncio.Semaphore:
        return self._many if size <= SMALL else self._some if size <= PART else self._one

    async def _fetch_small(
        self, digest: str, size: int, place: Path, *, again: bool, durable: bool
    ) -> bool:
        """A blob of one part; asked for once more where it came wrong, and `again`."""
        for _ in range(2 if again else 1):
            part = await self._bucket.part(blob_path(digest), 0, size) if size else []
            if part is None:
                return False
            with disk_errors(place.parent):
                if await to_its_end(partial(arrive, place, part, digest, durable=durable)):
                    self._moved(size)
                    self.corrupt.discard(digest)
                    return True
        self.corrupt.add(digest)
        return False

    async def _fetch_large(
        self, digest: str, size: int, place: Path, *, again: bool, durable: bool
    ) -> bool:
        """A blob of several parts; goes on where an earlier one was cut off, where `again`."""
        with disk_errors(place.parent):
            arrival = Arrival(place, resume=again)
            wrong = False
            try:
                while not arrival.mine():  # noqa: ASYNC110 - another process has it
                    await asyncio.sleep(TICK)
                await to_its_end(arrival.catch_up)
                if arrival.there:
                    self._moved(size)
                    return True
                if arrival.size > size:
                    arrival.restart()
                self._moved(arrival.resumed)
                if not await self._receive(arrival, digest, size):
                    return False
                wrong = arrival.size != size or arrival.digest() != digest
                if wrong and again:  # what was left of another attempt, or the line, is to blame
                    self._moved(-arrival.size)
                    arrival.restart()
                    await self._receive(arrival, digest, size)
                    wrong = arrival.size != size or arrival.digest() != digest
                if wrong:
                    self.corrupt.add(digest)
                    return False
                await to_its_end(partial(arrival.keep, durable=durable))
            finally:
                arrival.discard(wrong=wrong)
        self.corrupt.discard(digest)
        return True

    async def _receive(self, arrival: Arrival, digest: str, size: int) -> bool:
        """Appends what is still to come; whether there is such an object at all."""
        async with aclosing(self._parts(blob_path(digest), arrival.size, size)) as parts:
            async for part in parts:
                if part is None:
                    return False
                before, expected = arrival.size, min(PART, size - arrival.size)
                await to_its_end(arrival.append, part)
                self._moved(arrival.size - before)
                if arrival.size - before < expected:  # it ends here, whatever was said of its size
                    break
        return True

    async def _parts(
        self, path: str, begin: int, size: int
    ) -> AsyncGenerator[list[memoryview] | None, None]:
        """An object's parts in order, some of the next always on their way."""
        window: deque[asyncio.Future[list[memoryview] | None]] = deque()
        try:
            for start in range(begin, size, PART):
                part = self._bucket.part(path, start, min(PART, size - start))
                window.append(asyncio.ensure_future(part))
                if len(window) == WIDTH:
                    yield await window.popleft()
            while window:
                yield await window.popleft()
        finally:
            await end(window)

    async def _push(self, digest: str, path: Path) -> int:
        size = _size(path, digest)
        target = blob_path(digest)
        async with self._many:
            there = await self._bucket.size(target)
        if there == size and digest not in self.corrupt:
            self._moved(size)
            return 0
        async with self._lane(size):
            with Departure(path, digest, self._moved) as file:
                if size <= PART:
                    await self._bucket.put(target, await to_its_end(file.read))
                else:
                    try:
                        await self._bucket.upload(target, file, size)
                    except UnusableError as e:
                        if file.error:
                            raise SourceError(digest) from e
                        raise
        self.corrupt.discard(digest)
        return size


def _size(path: Path, digest: str) -> int:
    try:
        return path.stat().st_size
    except OSError as e:
        raise SourceError(digest) from e


def blob_path(digest: str) -> str:
    """Where a blob lies, below the URL."""
    return f"blobs/sha256/{digest[:2]}/{digest}"


def record_path(key: str) -> str:
    """Where the records of a key lie, below the URL."""
    return f"actions/{key[:2]}/{key}.json"
