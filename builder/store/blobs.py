"""Blobs: files by the sha256 of their bytes, whole and read-only."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from builder.files import (
    Seen,
    disk_errors,
    link_or_copy,
    look,
    remove,
    sha256,
    sync_file,
    write_atomically,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class DamagedError(Exception):
    """A blob is not there, or does not have the digest that its name says (then it is dropped).

    Attributes:
        digest: the blob's name.
    """

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


class Blobs:
    """`<root>/ab/<sha256>`: renamed into place after an fsync, checked whenever one leaves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._name = str(root)

    def path(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self.root / digest[:2] / digest

    def holds(self, digest: str, size: int) -> bool:
        """Whether a blob of that size is here; its bytes are checked when it leaves."""
        try:
            stat = os.lstat(f"{self._name}/{digest[:2]}/{digest}")  # asked thousands of times
        except OSError:
            return False
        return S_ISREG(stat.st_mode) and stat.st_size == size

    def take(self, folder: Path) -> dict[str, tuple[str, int]]:
        """Moves all files of a folder in; gives their digests and sizes by relative path."""
        outputs = {}
        with disk_errors(self.root):
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                digest, size = sha256(path), path.stat().st_size
                outputs[path.relative_to(folder).as_posix()] = (digest, size)
                if not self._known(digest, size):
                    self._move(path, digest)
        return outputs

    def put(self, content: bytes) -> tuple[str, int]:
        """Puts bytes in; gives their digest and size."""
        digest = hashlib.sha256(content).hexdigest()
        if not self._known(digest, len(content)):
            path = self.path(digest)
            write_atomically(path, content)
            path.chmod(0o444)
        return digest, len(content)

    def give(self, outputs: Mapping[str, tuple[str, int]], folder: Path) -> None:
        """Lays files out in a folder, as hard links where that can be.

        Raises:
            DamagedError: a blob is not what its name says.
        """
        for name, (digest, _) in outputs.items():
            path = self.checked(digest)
            with disk_errors(folder):
                link_or_copy(path, folder / name)

    def checked(self, digest: str) -> Path:
        """Where a blob lies, after a look at every byte.

        Raises:
            DamagedError: it is not what its name says, and dropped; or it is not there.
        """
        return Path(self.seen(digest).path)

    def seen(self, digest: str) -> Seen:
        """The same, with the file's status."""
        try:
            found = look(f"{self._name}/{digest[:2]}/{digest}")
        except FileNotFoundError:
            raise DamagedError(digest) from None
        except OSError:  # a link, a bad disk, or no permission
            found = None
        if found is None or found[1] != digest:
            self.drop(digest)
            raise DamagedError(digest)
        return found[0]

    def drop(self, digest: str) -> None:
        """Forgets a blob. Whoever has a link to its file keeps that."""
        remove(self.path(digest))

    def __iter__(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every blob that is whole, with its file's status."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            for path in folder.iterdir():
                if not path.name.startswith("."):
                    yield path.name, path.lstat()

    def _known(self, digest: str, size: int) -> bool:
        """Whether a blob is here already; if so, it counts as used now."""
        if not self.holds(digest, size):
            return False
        try:
            os.utime(self.path(digest))
        except FileNotFoundError:
            return False
        return True

    def _move(self, path: Path, digest: str) -> None:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_file(path)
        path.chmod(0o444)
        os.utime(path)  # the time of use, whatever the stage left
        path.replace(target)
