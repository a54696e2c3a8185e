"""The folders that a container gets: whether anybody may read them, and as an archive."""

from __future__ import annotations

import os
import stat
import tarfile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OPEN = 0o005
"""What a folder's mode must have for anybody to look into it."""


def readable(folder: Path) -> bool:
    """Whether anybody may read what is in a folder."""
    for path, _, names in os.walk(folder):
        if os.stat(path).st_mode & OPEN != OPEN:  # noqa: PTH116 - asked thousands of times
            return False
        for name in names:
            try:
                mode = os.stat(f"{path}/{name}").st_mode  # noqa: PTH116
            except OSError:
                continue
            if stat.S_ISREG(mode) and not mode & 0o004:
                return False
    return True


def pack(folders: Sequence[Path], pipe: IO[bytes]) -> None:
    """Folders as an archive, by their numbers, for anybody to read and nobody to write."""
    with tarfile.open(fileobj=pipe, mode="w|", dereference=True) as archive:
        for number, folder in enumerate(folders):
            archive.add(folder, str(number), filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o444
    return member
