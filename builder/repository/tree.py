"""A folder that is to hold certain files, as hard links, and nothing else: what differs is changed.

What lies there already counts as right only where it is the very file that is asked for, not one
that looks like it. Whoever asks has seen to that file's bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_IMODE, S_ISDIR
from typing import TYPE_CHECKING

from builder.files import Seen, link_or_copy, remove

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Usual:
    """What a folder is like that this process makes: its owner, mode and file system."""

    owner: int
    mode: int
    device: int

    @classmethod
    def below(cls, folder: Path) -> Usual:
        """As a folder made there comes out: by the process's umask, and the file system's ways."""
        probe = folder / ".probe"
        remove(probe)
        probe.mkdir()
        stat = probe.stat()
        probe.rmdir()
        return cls(stat.st_uid, S_IMODE(stat.st_mode), stat.st_dev)

    def fits(self, stat: os.stat_result) -> bool:
        """Whether a folder is like that."""
        own = (stat.st_uid, S_IMODE(stat.st_mode), stat.st_dev)
        return S_ISDIR(stat.st_mode) and own == (self.owner, self.mode, self.device)


def lay(folder: Path, files: Mapping[str, Seen], usual: Usual) -> bool:
    """Has a folder hold exactly these files.

    Args:
        folder: it need not be there; its parent must.
        files: by their paths in the folder.
        usual: what folders are to be like; others are made anew.

    Returns:
        whether all are links; some had to be copied where not.
    """
    present = _present(folder, files, usual)
    linked = [link_or_copy(f.path, folder / n) for n, f in files.items() if n not in present]
    return all(linked)


def _present(folder: Path, files: Mapping[str, Seen], usual: Usual) -> set[str]:
    """The files that are right already; nothing else is there afterwards."""
    try:
        stat = folder.lstat()
    except FileNotFoundError:
        return set()
    if usual.fits(stat):
        return set(_right(str(folder), files, usual))
    remove(folder)
    return set()


def _right(root: str, files: Mapping[str, Seen], usual: Usual) -> Iterator[str]:
    """The names of files that are there; everything else is removed on the way."""
    wanted: dict[str, dict[str, Seen]] = {"": {}}
    for name, file in files.items():
        inside = name[: name.rfind("/") + 1]
        wanted.setdefault(inside, {})[name] = file
        while inside := inside[: inside.rfind("/", 0, -1) + 1]:
            wanted.setdefault(inside, {})
    todo = [""]
    while todo:
        inside = todo.pop()
        expected = wanted[inside]
        with os.scandir(f"{root}/{inside}") as found:
            entries = list(found)
        for entry in entries:
            name = inside + entry.name
            right = expected.get(name)
            if right and usual.device == right.status.st_dev and _is(entry, right):
                yield name
            elif f"{name}/" in wanted and usual.fits(entry.stat(follow_symlinks=False)):
                todo.append(f"{name}/")
            else:
                remove(Path(entry.path))


def _is(entry: os.DirEntry[str], file: Seen) -> bool:
    """Whether an entry of a folder on a file's own file system is that very file.

    What the folder says of it is enough: to ask the file itself takes most of the time.
    """
    return entry.inode() == file.status.st_ino and entry.is_file(follow_symlinks=False)
