"""Which files below a folder were opened, by whomever: asked of the kernel (inotify(7)).

Closing a descriptor that has ever had a watch takes the kernel some 10 ms, so descriptors are
kept and used again, with all watches of the last time removed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IN_OPEN = 0x20
IN_ISDIR = 0x40000000
EVENT = struct.Struct("iIII")

_idle: list[int] = []
"""Descriptors without watches and without events."""


@contextmanager
def opened(folder: Path) -> Iterator[set[str]]:
    """Fills the set with the paths of files that were opened below a folder meanwhile.

    It is filled when the block is left; it stays empty where the kernel cannot be asked.
    Folders that are made meanwhile are not watched.
    """
    found: set[str] = set()
    descriptor = _descriptor()
    if descriptor is None:
        yield found
        return
    folders = _watch(descriptor, folder)
    try:
        yield found
    finally:
        found |= set(_events(descriptor, folders))
        for number in folders:
            _libc().inotify_rm_watch(descriptor, number)
        for _ in _events(descriptor, {}):
            pass  # one more for each watch: that it is no more
        _idle.append(descriptor)


def _descriptor() -> int | None:
    if _idle:
        return _idle.pop()
    if sys.platform != "linux":
        return None
    descriptor: int = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    return descriptor if descriptor >= 0 else None


def _watch(descriptor: int, folder: Path) -> dict[int, str]:
    """Watches a folder tree; gives its folders by number of the watch."""
    folders = {}
    for place, children, _ in os.walk(folder):
        children[:] = [c for c in children if not c.startswith((".", "__pycache__"))]
        number = _libc().inotify_add_watch(descriptor, os.fsencode(place), IN_OPEN)
        if number >= 0:
            folders[number] = place
    return folders


def _events(descriptor: int, folders: dict[int, str]) -> Iterator[str]:
    """The files of the events that wait, as paths."""
    while True:
        try:
            data = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return
        start = 0
        while start < len(data):
            number, mask, _, length = EVENT.unpack_from(data, start)
            start += EVENT.size
            name = os.fsdecode(data[start : start + length].rstrip(b"\0"))
            start += length
            if name and not mask & IN_ISDIR and number in folders:
                yield f"{folders[number]}/{name}"


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
