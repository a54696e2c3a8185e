"""Which folders of a project were listed while somebody's Python ran: `glob`, `os.walk`, `iterdir`.

A file that comes or goes there is a change that no open of a file tells of.
"""

from __future__ import annotations

import functools
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.plan.reads import counts
from builder.stages.usercode.reads import editable

if TYPE_CHECKING:
    import types
    from collections.abc import Iterator

EVENTS = frozenset({"os.listdir", "os.scandir"})
"""What all ways of listing come down to. Those of native code are not seen."""

THROUGH = frozenset({"fnmatch", "glob", "os", "pathlib"})
"""Modules that pass a call on: whoever called them is who asked."""

FINDERS = frozenset({"importlib", "pkg_resources", "pkgutil"})
"""Modules that look for modules. What an import depends on is found out from the import."""


@dataclass
class Listings:
    """Folders that were listed so far.

    Attributes:
        root: the project's folder, resolved.
        folders: those below it, resolved.
    """

    root: Path
    folders: set[Path] = field(default_factory=set)


_active: list[Listings] = []


@contextmanager
def listing(project: Path) -> Iterator[Listings]:
    """Sees which of the project's folders are listed meanwhile.

    What does not count: see `names.counts`; and the folders on `sys.path`, where a library lists
    them, since it looks for modules.
    """
    _listen()
    seen = Listings(Path(os.path.realpath(project)))
    _active.append(seen)
    try:
        yield seen
    finally:
        _active.remove(seen)


@functools.cache
def _listen() -> None:
    """Adds the hook, once a process: audit hooks cannot be removed."""
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in EVENTS or not _active:
        return
    path = "." if args[0] is None else args[0]
    if isinstance(path, int):
        return  # a descriptor: `shutil.rmtree` clears up
    folder = Path(os.path.realpath(os.fsdecode(path)))
    for seen in _active:
        if _counts(folder, seen.root) and _asked(sys._getframe(1), folder, seen.root):  # noqa: SLF001 - the documented way to one's caller
            seen.folders.add(folder)


def _counts(folder: Path, root: Path) -> bool:
    if not editable(folder, root):
        return False
    return folder == root or counts(folder.relative_to(root).as_posix())


def _asked(frame: types.FrameType | None, folder: Path, root: Path) -> bool:
    """Whether somebody wants to know which files there are, and not which modules."""
    while frame is not None and _top(frame) in THROUGH:
        frame = frame.f_back
    if frame is None:
        return True
    file = frame.f_code.co_filename
    if os.path.isabs(file) and editable(Path(os.path.realpath(file)), root):  # noqa: PTH117
        return True
    on_path = (Path(os.path.realpath(entry)) for entry in sys.path)
    return _top(frame) not in FINDERS and folder not in on_path


def _top(frame: types.FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
