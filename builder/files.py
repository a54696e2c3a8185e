"""Files that are whole or not there: written aside, synced, renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, NamedTuple

from builder.errors import InputError, MissingError, WorkFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator

OPEN = 1024
"""Files that may be open at once where all goes well: what systems give by default."""


def too_many_open(problem: str = "no more files may be open at once") -> MissingError:
    """What to do about a limit of open files (EMFILE, ENFILE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    own = hard == resource.RLIM_INFINITY or hard >= OPEN
    return MissingError(
        problem,
        found=f"ulimit -n: {soft}" if own else f"ulimit -n: {soft}, and {hard} at most",
        expected=OPEN,
        fix=(f"ulimit -n {OPEN}" if own else f"as root: prlimit --nofile={OPEN} --pid $$")
        + f"; for a container: --ulimit nofile={OPEN}",
    )


@contextmanager
def open_files() -> Iterator[None]:
    """Says that no more files may be open.

    Raises:
        MissingError: so it is.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise too_many_open() from e


@contextmanager
def disk_full(place: Path) -> Iterator[None]:
    """Says which disk is full.

    Raises:
        WorkFailedError: it is.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise WorkFailedError(
            "the disk is full",
            where=str(place),
            found=_free(place),
            fix="free some space there; where it is the cache's, $TRITON_BUILDER_CACHE may name "
            "a folder on a larger disk. What was finished is kept and will not be built again",
        ) from e


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Says which disk is full, or which folder cannot be written.

    Raises:
        WorkFailedError: the disk is full.
        MissingError: the folder may not be written.
        InputError: a file is where a folder belongs.
    """
    try:
        with disk_full(place):
            yield
    except OSError as e:
        if e.errno in (errno.ENOTDIR, errno.EEXIST):
            raise InputError(
                "a file is in the way of a folder",
                where=str(e.filename or place),
                fix="move it away, or name another place",
            ) from e
        if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise MissingError(
            "cannot write here",
            where=str(place),
            found=e.strerror,
            fix="make it writable; where it is the cache's, $TRITON_BUILDER_CACHE may name "
            "a folder that is",
        ) from e


def write_atomically(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Writes a small file so that readers see all of it or what was there before.

    Args:
        path: where.
        content: all of it.
        durable: also after the machine has lost its power.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def sync_file(path: Path) -> None:
    """Has a file's bytes on the disk before it gets a name that others trust."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def start_writing(file: int, offset: int, size: int) -> None:
    """Has the system begin to bring some bytes of a file to the disk, while others still come.

    A later fsync then waits for the rest alone. Where there is no sync_file_range(2), it waits for
    all of it.
    """
    import ctypes

    begin = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if begin:
        begin(file, ctypes.c_int64(offset), ctypes.c_int64(size), _SYNC_FILE_RANGE_WRITE)


_SYNC_FILE_RANGE_WRITE = 2

SMALL = 1 << 16


def sha256(path: Path | str) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - called thousands of times
        start = file.read(SMALL)
        if len(start) < SMALL:  # most files are: in one go
            return hashlib.sha256(start).hexdigest()
        file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


class Seen(NamedTuple):
    """A file that somebody has looked at.

    Attributes:
        path: where it lies.
        status: what `lstat` says of it.
    """

    path: str
    status: os.stat_result

    @classmethod
    def at(cls, path: Path) -> Seen:
        """The file as it is now."""
        return cls(str(path), path.lstat())


def look(path: str) -> tuple[Seen, str] | None:
    """A regular file, and the sha256 of its bytes; None where something else lies there.

    Quick: builds ask it of every file of a repository.

    Raises:
        OSError: there is nothing, or nothing that can be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if not S_ISREG(status.st_mode):
            return None
        start = os.read(handle, SMALL)
        if len(start) == status.st_size:
            return Seen(path, status), hashlib.sha256(start).hexdigest()
        os.lseek(handle, 0, os.SEEK_SET)
        with open(handle, "rb", buffering=0, closefd=False) as file:
            return Seen(path, status), hashlib.file_digest(file, "sha256").hexdigest()
    finally:
        os.close(handle)


def link_or_copy(source: Path | str, target: Path) -> bool:
    """A hard link, or a copy where the file system or its limits allow none; whether a link."""
    try:
        return _link(source, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        return _link(source, target)


def _link(source: Path | str, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError as e:
        if e.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES):
            raise
        shutil.copyfile(source, target)
        target.chmod(0o444)
        return False
    return True


def remove_tree(folder: Path) -> None:
    """Removes a folder of ours, read-only files and all."""

    def writable(_function: object, path: str, _error: object) -> None:
        Path(path).parent.chmod(0o755)
        if Path(path).is_dir() and not Path(path).is_symlink():
            Path(path).chmod(0o755)
            shutil.rmtree(path)
        else:
            Path(path).unlink(missing_ok=True)

    if folder.exists():
        shutil.rmtree(folder, onerror=writable)


def remove(path: Path) -> None:
    """Removes whatever lies there: a file, a link, a folder of ours; or nothing."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _free(place: Path) -> str:
    try:
        return f"{shutil.disk_usage(place).free / 1e6:.0f} MB free"
    except OSError:
        return "no space left"
