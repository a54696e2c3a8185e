"""A blob's file at this end of the line: one that arrives, or one that departs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Self

from builder.files import remove, start_writing

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 8 << 20

START = 128 << 10
"""Bytes that the system is told to bring to the disk as soon as they are written."""


class SourceError(Exception):
    """A file to be pushed has gone, or is not what its name says."""


def arrive(place: Path, content: list[memoryview], digest: str, *, durable: bool) -> bool:
    """Gives a blob of one part its place, if it has the digest; whether it has.

    Args:
        place: where it belongs.
        content: all of it, in pieces.
        digest: the sha256 that it must have.
        durable: have it on the disk before it gets its place; else the system is told to begin.
    """
    found = hashlib.sha256()
    for piece in content:
        found.update(piece)
    if found.hexdigest() != digest:
        return False
    arrival = Arrival(place)
    try:
        arrival.take(content)
        arrival.keep(durable=durable)
    finally:
        arrival.discard()
    return True


class Arrival:
    """A blob on its way here: a file beside its place, and the digest of what it holds so far.

    Args:
        place: where it belongs.
        resume: go on with what an earlier arrival of the same blob left, and leave what there is
            for a later one. Only one process at a time does; others wait for it.

    Attributes:
        size: bytes so far.
        resumed: bytes that an earlier arrival left.
        there: it has come meanwhile, by another process: there is nothing to do.
    """

    def __init__(self, place: Path, *, resume: bool = False) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        self._place = place
        self._resume = resume
        self._hash = hashlib.sha256()
        self._disk: ThreadPoolExecutor | None = None
        self.size = self.resumed = 0
        self.there = False
        if resume:
            self._name = place.with_name(f".{place.name}.partial")
            self._file = _opened(self._name)
        else:
            prefix = f".{place.name}.{os.getpid()}-"
            self._file, name = tempfile.mkstemp(dir=place.parent, prefix=prefix)
            self._name = Path(name)

    def mine(self) -> bool:
        """Whether no other process is at it, or was until now; ask until it is so."""
        if not self._resume:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.there = self._place.exists()
        with suppress(FileNotFoundError):
            if self.there or os.path.samestat(os.fstat(self._file), self._name.stat()):
                return True
        os.close(self._file)  # who had it has moved it to its place, or removed it
        self._file = _opened(self._name)
        return False

    def catch_up(self) -> None:
        """Reads what is there already."""
        if self._resume and not self.there:
            self._read_on()

    def _read_on(self) -> None:
        with open(self._file, "rb", buffering=0, closefd=False) as file:
            while piece := file.read(CHUNK):
                self._hash.update(piece)
                self.size += len(piece)
        self.resumed = self.size

    def restart(self) -> None:
        """Forgets what an earlier arrival left."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.size = self.resumed = 0

    def append(self, pieces: list[memoryview]) -> None:
        """Writes the next bytes, while they are hashed."""
        if (size := sum(map(len, pieces))) < CHUNK // 8:
            self._update(pieces)
            self._write(pieces)
        else:
            self._disk = self._disk or ThreadPoolExecutor(1, "arrival")
            written = self._disk.submit(self._write, pieces)
            self._update(pieces)
            written.result()
        self.size += size

    def _update(self, pieces: list[memoryview]) -> None:
        for piece in pieces:
            self._hash.update(piece)

    def _write(self, pieces: list[memoryview]) -> None:
        end = self.size
        for piece in pieces:
            left = piece
            while left:
                left = left[os.write(self._file, left) :]
            end += len(piece)
        if end - self.size >= START:
            start_writing(self._file, self.size, end - self.size)

    def take(self, pieces: list[memoryview]) -> None:
        """Writes bytes whose digest somebody knows already."""
        self._write(pieces)
        self.size += sum(map(len, pieces))

    def digest(self) -> str:
        """The sha256 of all bytes so far."""
        return self._hash.hexdigest()

    def keep(self, *, durable: bool = True) -> None:
        """Gives the file its place.

        Args:
            durable: with all of its bytes on the disk.
        """
        if durable:
            os.fsync(self._file)
        os.fchmod(self._file, 0o444)
        self._name.replace(self._place)

    def discard(self, *, wrong: bool = False) -> None:
        """Lets go of the file: removes it, unless it has its place or is of use later.

        Args:
            wrong: what it holds is of no use.
        """
        if self._disk:
            self._disk.shutdown()
        if not self._resume or wrong or self.there:
            self._name.unlink(missing_ok=True)
        with suppress(OSError):
            os.close(self._file)


def _opened(path: Path) -> int:
    """A file that may be there; nothing else that lies there, where others may write too."""
    with suppress(FileNotFoundError):
        if not S_ISREG(path.lstat().st_mode):
            remove(path)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


class Departure:
    """A blob's file, which reads its last bytes only if all of them have the blob's digest.

    Attributes:
        error: the file's own fault that ended reading.

    Args:
        path: where it lies.
        digest: the sha256 that it must have.
        moved: told of the bytes that were read.
    """

    def __init__(
        self, path: Path, digest: str, moved: Callable[[int], None] = lambda _: None
    ) -> None:
        try:
            self._file = path.open("rb")
        except OSError as e:
            raise SourceError(digest) from e
        self._digest = digest
        self._moved = moved
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
        self._moved(len(content))
        return content

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of any file; uploads ask for it, and never do it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """How many bytes were read."""
        return self._file.tell()
