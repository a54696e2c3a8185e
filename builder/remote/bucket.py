"""An object store, by a few requests of `obstore`: each has an end, and errors have a fix."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from builder.remote.address import folder_of, open_store
from builder.remote.failures import (
    FOLDER,
    NO_BUCKET,
    UnusableError,
    beyond,
    of_the_bucket,
    slow,
    unusable,
)
from builder.remote.limits import PART, WIDTH
from builder.remote.tasks import together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from builder.remote.limits import Limits

MOST_PARTS = 9_000
"""Of one upload: S3 takes 10,000."""

PIECE = 1 << 20
"""Bytes of what a part comes in."""

TOGETHER = 200
"""Objects that one request removes."""

AGAIN = 5
"""Tries to make an object that others make and remove at the same time."""

LOCK = ".lock"
"""In a folder that is used as a store: what replacing an object is done under."""


@dataclass(frozen=True)
class Object:
    """A small object: its bytes, and the tag of this state of it."""

    content: bytes
    tag: str


@dataclass(frozen=True)
class Listed:
    """An object as a list shows it: path below the store's URL, bytes, time of its last change."""

    path: str
    size: int
    modified: datetime


class Source(Protocol):
    """A file to upload."""

    def read(self, size: int = -1, /) -> bytes: ...  # noqa: D102
    def seek(self, offset: int, whence: int = 0, /) -> int: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


class Bucket:
    """The objects below a URL.

    Args:
        url: where they are.
        limits: how long the store may take.
        create: make the folder of a `file://` URL where it is not there.

    Raises:
        UnusableError: the store cannot be opened. So do all methods, where it fails.
    """

    def __init__(self, url: str, limits: Limits, *, create: bool) -> None:
        import obstore

        self._obstore = obstore
        self._limits = limits
        self._folder = folder_of(url)
        # what tells states of an object apart: Google minds its own number of each alone
        self._tagged = "version" if urlsplit(url).scheme == "gs" else "e_tag"
        try:
            self._reads, self._writes = open_store(url, limits, create=create)
        except (KeyboardInterrupt, SystemExit, UnusableError):
            raise
        except BaseException as e:  # a panic in Rust is no Exception
            raise unusable(e) from e

    async def get(self, path: str, most: int) -> bytes | None:
        """The bytes of a small object; None where there is none, or one of more bytes."""

        async def ask() -> bytes | None:
            result = await self._obstore.get_async(self._reads, path)
            if result.meta["size"] > most:
                return None
            return bytes(await result.bytes_async())

        content: bytes | None = await self._within(self._limits.answer, ask())
        return content

    async def read(self, path: str, most: int) -> Object | None:
        """A small object with its tag; None where there is none, or one of more bytes."""

        async def ask() -> Object | None:
            result = await self._obstore.get_async(self._reads, path)
            if result.meta["size"] > most:
                return None
            content = bytes(await result.bytes_async())
            return Object(content, self._tag_of(result.meta, content))

        found: Object | None = await self._within(self._limits.answer, ask())
        return found

    async def size(self, path: str) -> int | None:
        """The size of an object, or None."""
        ask = self._obstore.head_async(self._reads, path)
        meta = await self._within(self._limits.answer, ask)
        return None if meta is None else int(meta["size"])

    async def modified(self, path: str) -> datetime | None:
        """When an object was last written, by the store's own clock; None where there is none."""
        ask = self._obstore.head_async(self._reads, path)
        meta = await self._within(self._limits.answer, ask)
        found: datetime | None = None if meta is None else meta["last_modified"]
        return found

    async def part(self, path: str, start: int, length: int) -> list[memoryview] | None:
        """Some bytes of an object: fewer, where it ends before; None where there is no object.

        In pieces of about `PIECE` bytes, as they came: to put them together costs a copy, and
        memory that the system has to clear anew.
        """

        async def ask() -> list[memoryview]:
            if length <= PIECE:
                whole = self._obstore.get_range_async(self._reads, path, start=start, length=length)
                return [memoryview(await whole)]
            span: Any = {"range": (start, start + length)}
            found = await self._obstore.get_async(self._reads, path, options=span)
            return [memoryview(piece) async for piece in found.stream(min_chunk_size=PIECE)]

        try:
            pieces: list[memoryview] | None = await self._within(self._limits.of(length), ask())
        except UnusableError as e:
            if beyond(e.__cause__):
                return []
            raise
        return pieces

    async def put(self, path: str, content: bytes) -> None:
        """Puts an object of at most one part; readers see all of it or what was there before."""
        put = self._obstore.put_async(self._writes, path, content, use_multipart=False)
        if await self._within(self._limits.of(len(content)), put) is None:
            raise UnusableError("it has no such bucket", NO_BUCKET)

    async def create(self, path: str, content: bytes) -> bool:
        """Puts an object where there is none; False where there is other content already.

        An answer that got lost on its way is no riddle: what is there then is read.
        """
        for _ in range(AGAIN):
            if await self._settled(path, content, None):
                return True
            if await self.size(path) is not None:
                return False
        raise UnusableError("it refuses a new object, and has none", "wait and try again")

    async def replace(self, path: str, content: bytes, tag: str) -> bool:
        """Replaces an object if it still has this tag; False where somebody was quicker.

        Stores that cannot do it in one step are folders, where a lock stands in. Lost answers are
        as in `create`.
        """
        if self._folder is None:
            return await self._settled(path, content, tag)
        with _disk():
            lock = await asyncio.to_thread(_lock, self._folder / LOCK)
        try:
            now = await self.read(path, 1 << 30)
            if now is None or now.tag != tag:
                return now is not None and now.content == content
            await self.put(path, content)
        finally:
            os.close(lock)
        return True

    async def list(self, prefix: str = "") -> list[Listed]:
        """All objects below a path that ends at a slash, in the order of their names."""
        pages = aiter(self._obstore.list(self._reads, prefix or None, chunk_size=1000))
        found = []
        while rows := await self._within(self._limits.answer, anext(pages, None)):
            found += [Listed(r["path"], r["size"], r["last_modified"]) for r in rows]
        return sorted(found, key=lambda row: row.path)

    async def delete(self, paths: Sequence[str]) -> None:
        """Removes objects; those that are not there are no error."""
        for start in range(0, len(paths), TOGETHER):
            some = list(paths[start : start + TOGETHER])
            if self._folder:
                for path in some:
                    await self._within(
                        self._limits.answer, self._obstore.delete_async(self._writes, path)
                    )
            else:
                await self._within(
                    self._limits.answer * 2, self._obstore.delete_async(self._writes, some)
                )

    async def copy(self, source: str, target: str, size: int) -> bool:
        """Copies an object within the store; False where there is no such source.

        Args:
            source: its path.
            target: the copy's path.
            size: its bytes, which say how long it may take.
        """
        done = await self._within(
            self._limits.of(size), self._give(self._obstore.copy_async, source, target)
        )
        return done is not None

    async def _give(self, function: Any, *arguments: str) -> bool:
        await function(self._writes, *arguments)
        return True

    async def keeps_conditions(self, path: str) -> bool:
        """Whether the store refuses what it must, unless it fails, which says nothing of that.

        It must not make an object that is there, nor replace one by a tag that it has not.

        Args:
            path: an object that is there, and is of no use where the answer is no.
        """
        if self._folder:
            return True
        tag = "0" if self._tagged == "version" else '"0x0"'
        with suppress(UnusableError):
            jobs = (self._conditional(path, b"{}", None), self._conditional(path, b"{}", tag))
            return not any(await together(jobs))
        return True

    def _tag_of(self, meta: Any, content: bytes) -> str:
        """The tag of a state of an object: in a folder, where times may repeat, its content's."""
        tag = None if self._folder else meta[self._tagged]
        return tag or hashlib.sha256(content).hexdigest()

    async def _settled(self, path: str, content: bytes, tag: str | None) -> bool:
        """Puts an object where there is one of this tag, or none; whether it is there then."""
        try:
            done = await self._conditional(path, content, tag)
        except UnusableError:  # which says nothing of what the store did
            there = await self._glance(path)
            if there is None or (there.content != content and there.tag == tag):
                raise
            return there.content == content
        return done or await self.get(path, len(content)) == content

    async def _glance(self, path: str) -> Object | None:
        """What is there, if a store that just failed says so soon."""
        with suppress(UnusableError, TimeoutError):
            async with asyncio.timeout(self._limits.answer / 3):
                return await self.read(path, 1 << 30)
        return None

    async def _conditional(self, path: str, content: bytes, tag: str | None) -> bool:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = {self._tagged: tag} if tag else "create"
        put = self._obstore.put_async(self._writes, path, content, mode=mode, use_multipart=False)
        try:
            done = await self._within(self._limits.of(len(content)), put)
        except UnusableError as e:
            if isinstance(e.__cause__, AlreadyExistsError | PreconditionError):
                return False
            raise
        if done is None:  # 404: of the bucket, or of the object that was to be replaced
            if tag is None:
                raise UnusableError("it has no such bucket", NO_BUCKET)
            return False
        return True

    async def upload(self, path: str, file: Source, size: int) -> None:
        """Puts a large object of so many bytes, in parts; readers see all of it or what was there.

        The file's position tells how far it came. What an upload that was cut off leaves at the
        store is for the bucket's own rule on unfinished uploads.
        """
        part = max(PART, -(-size // MOST_PARTS))
        patience = self._limits.of(part)
        source: Any = file
        put = self._obstore.put_async(
            self._writes,
            path,
            source,
            use_multipart=True,
            chunk_size=part,
            max_concurrency=WIDTH,
        )
        task = asyncio.ensure_future(self._within(None, put))
        before = -1
        try:
            while not (await asyncio.wait({task}, timeout=patience))[0]:
                if file.tell() == before:
                    raise slow(patience)
                before = file.tell()
            # 404 of a second try to complete what the first one did, its answer lost
            if task.result() is None and await self.size(path) != size:
                raise UnusableError("it has no such bucket", NO_BUCKET)
        finally:
            task.cancel()

    async def _within(self, seconds: float | None, request: Awaitable[Any]) -> Any:
        """What a request gives, or None where it finds nothing."""
        try:
            async with asyncio.timeout(seconds):
                return await request
        except TimeoutError as e:
            raise slow(seconds or 0) from e
        except FileNotFoundError as e:  # what obstore raises for 404
            if of_the_bucket(e):
                raise unusable(e) from e
            return None
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as e:  # a panic in Rust is no Exception
            raise unusable(e) from e


@contextmanager
def _disk() -> Iterator[None]:
    """Errors of a folder's own, in the words of those of stores."""
    try:
        yield
    except OSError as e:
        raise UnusableError(f"its folder fails: {e.strerror}", FOLDER) from e


def _lock(file: Path) -> int:
    """A descriptor that holds a lock until it is closed. Waits for it."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except BaseException:
        os.close(handle)
        raise
    return handle
