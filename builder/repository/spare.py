"""The tree that a repository had before its present one, kept beside it as `.cpu.spare`.

The next tree is made of it by changing what differs, mostly one model of many, instead of from
nothing. It costs folders only where files are hard links; where they are copies, none is kept.
Nothing in it is believed (see `tree`), so whatever happened to it does no harm. Whoever calls these
has claimed the repository.
"""

from __future__ import annotations

import os
from contextlib import suppress
from stat import S_ISDIR
from typing import TYPE_CHECKING

from builder.files import remove

if TYPE_CHECKING:
    from pathlib import Path


def place(repository: Path) -> Path:
    """Where a repository's spare lies, or would: passed over by Triton and people."""
    return repository.parent / f".{repository.name}.spare"


def take(repository: Path, folder: Path) -> None:
    """Puts the spare, if there is one that can be worked in, in the place of an empty folder."""
    spare = place(repository)
    try:
        stat = spare.lstat()
    except FileNotFoundError:
        return
    if S_ISDIR(stat.st_mode) and stat.st_uid == os.geteuid():
        with suppress(OSError):  # it is a container's image's, which overlayfs renames not
            spare.rename(folder)  # first of all: one that was begun on is swept if we die
            return
    remove(spare)


def keep(tree: Path, repository: Path) -> None:
    """Keeps a tree that is not needed now, in the place of any other."""
    drop(repository)
    tree.rename(place(repository))


def drop(repository: Path) -> None:
    """Removes the spare."""
    remove(place(repository))
