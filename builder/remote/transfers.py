"""What moves between this machine and a bucket: many small things at once, large ones in parts.

    blobs/sha256/ab/<sha256>   the bytes of that digest
    actions/ab/<key>.json      records of actions

Nothing that comes is trusted: a blob gets its place only when its bytes have its digest. Nothing
wrong goes either: a file is read once, for its digest and the store at the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections import deque
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from builder.files import disk_errors
from builder.remote.bucket import PART, WIDTH, UnusableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from builder.remote.bucket import Bucket

T = TypeVar("T")

SMALL = 256 << 10
"""Up to this size a blob is small."""

MANY = 64
"""Small requests at once."""

RECORD = 16 << 20
"""No record has more bytes; one that does is none."""


class SourceError(Exception):
    """A file to be pushed has gone, or is not what its name says."""


class Transfers:
    """Copies blobs and records to and from a bucket, in a bounded part of memory.

    At most `MANY` small objects are on their way at once, `WIDTH` of up to a `PART`, and one
    larger one with `WIDTH` of its parts.

    Attributes:
        corrupt: digests whose objects there had other bytes; a push of them replaces those.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
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

        await _together(one(key) for key in keys)

    async def fetch(self, blobs: Iterable[tuple[str, int, Path]], arrived: set[str]) -> None:
        """Copies blobs (digest, size, place) here, and adds the digests of those that came whole.

        Raises:
            WorkFailedError: the disk here is full.
        """

        async def one(digest: str, size: int, place: Path) -> None:
            async with self._lane(size):
                if await self._fetch(digest, size, place):
                    arrived.add(digest)

        await _together(one(*blob) for blob in blobs)

    async def push(self, key: str, record: bytes, blobs: Iterable[tuple[str, Path]]) -> None:
        """Copies blobs (digest, file) there that are not there, and only then the record.

        Raises:
            SourceError: a file is not what its name says; then there is no record.
        """
        await _together(self._push(*blob) for blob in blobs)
        await self._bucket.put(record_path(key), record)

    def _lane(self, size: int) -> asyncio.Semaphore:
        return self._many if size <= SMALL else self._some if size <= PART else self._one

    async def _fetch(self, digest: str, size: int, place: Path) -> bool:
        with disk_errors(place.parent):
            arrival = Arrival(place)
            try:
                async with aclosing(self._pieces(blob_path(digest), size)) as pieces:
                    async for piece in pieces:
                        if piece is None:
                            return False
                        await _to_its_end(arrival.append, piece)
                if arrival.size != size or arrival.digest() != digest:
                    self.corrupt.add(digest)
                    return False
                await _to_its_end(arrival.keep)
            finally:
                arrival.discard()
        self.corrupt.discard(digest)
        return True

    async def _pieces(self, path: str, size: int) -> AsyncGenerator[memoryview | None, None]:
        """An object's parts in order, some of the next always on their way."""
        window: deque[asyncio.Future[memoryview | None]] = deque()
        try:
            for start in range(0, size, PART):
                part = self._bucket.part(path, start, min(PART, size - start))
                window.append(asyncio.ensure_future(part))
                if len(window) == WIDTH:
                    yield await window.popleft()
            while window:
                yield await window.popleft()
        finally:
            await _end(window)

    async def _push(self, digest: str, path: Path) -> None:
        size = _size(path, digest)
        target = blob_path(digest)
        async with self._many:
            there = await self._bucket.size(target)
        if there == size and digest not in self.corrupt:
            return
        async with self._lane(size):
            with Departure(path, digest) as file:
                if size <= PART:
                    await self._bucket.put(target, await _to_its_end(file.read))
                else:
                    try:
                        await self._bucket.upload(target, file)
                    except UnusableError as e:
                        if file.error:
                            raise SourceError(digest) from e
                        raise
        self.corrupt.discard(digest)


class Arrival:
    """A blob on its way here: a temporary file beside its place, and the digest so far."""

    def __init__(self, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{place.name}.{os.getpid()}-"
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=prefix)
        self._file = os.fdopen(handle, "wb")
        self._name = Path(name)
        self._place = place
        self._hash = hashlib.sha256()
        self.size = 0

    def append(self, piece: memoryview) -> None:
        """Writes the next bytes."""
        self._file.write(piece)
        self._hash.update(piece)
        self.size += len(piece)

    def digest(self) -> str:
        """The sha256 of all bytes so far."""
        return self._hash.hexdigest()

    def keep(self) -> None:
        """Gives the file its place, with all of its bytes on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        os.fchmod(self._file.fileno(), 0o444)
        self._name.replace(self._place)

    def discard(self) -> None:
        """Removes the temporary file, unless it has its place."""
        with suppress(OSError):
            self._file.close()
        self._name.unlink(missing_ok=True)


class Departure:
    """A blob's file, which reads its last bytes only if all of them have the blob's digest.

    Attributes:
        error: the file's own fault that ended reading.
    """

    def __init__(self, path: Path, digest: str) -> None:
        try:
            self._file = path.open("rb")
        except OSError as e:
            raise SourceError(digest) from e
        self._digest = digest
        self._hash = hashlib.sha256()
        self._left = os.fstat(self._file.fileno()).st_size
        self.error: SourceError | OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            SourceError: these are the last, and the digest is not what it should be.
        """
        try:
            content = self._file.read(size)
            self._hash.update(content)
            self._left -= len(content)
        except OSError as e:
            self.error = e
            raise
        if self._left <= 0 and self._hash.hexdigest() != self._digest:
            self.error = SourceError(self._digest)
            raise self.error
        return content

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of any file; uploads ask for it, and never do it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """How many bytes were read."""
        return self._file.tell()


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


async def _together(jobs: Iterable[Awaitable[None]]) -> None:
    """Does all at once; where one fails, ends the others and raises what it raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def _end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _to_its_end(function: Callable[..., T], *args: object) -> T:
    """Runs a function in a thread; waits for it even where its result is not wanted any more."""
    task = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
