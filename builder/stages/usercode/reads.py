"""Which files were read while somebody's Python ran: inputs that no spec declares.

Python's audit hook sees every file that Python opens. Native code (safetensors, tokenizers,
Arrow) opens files behind its back; inside the model's own folder the kernel is asked as
well, where it is Linux. Native reads elsewhere stay unseen: those belong in the spec.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import struct
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CODE = (".py", ".so", ".dylib", ".pyd")
"""Suffixes that are code: outside the project, the toolchain's versions stand for them."""

BUILDER = Path(__file__).resolve().parent.parent
"""This package: in a development checkout it lies inside the project that it builds."""

SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/run/", "/usr/")
SHARED = (*CODE, ".pyc", ".yaml", ".yml", ".md")
"""Suffixes that the kernel's word is not taken for: other processes open these, and native
code has no use for them."""

IN_OPEN = 0x20
IN_ISDIR = 0x40000000
EVENT = struct.Struct("iIII")


@dataclass
class Recording:
    """Paths as they were opened, in no order.

    `written` are the process's own files. `imported` are modules that were there before: their
    source is opened again for tracebacks only.
    """

    imported: frozenset[str]
    opened: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def files(self) -> tuple[Path, ...]:
        """The existing files that were read, resolved, without what was written here."""
        found = {
            Path(os.path.realpath(path)) for path in self.opened - self.written - self.imported
        }
        sources = {_source_of(path) for path in found}
        return tuple(sorted(path for path in sources if path.is_file()))


_active: list[Recording] = []


@contextmanager
def recording(folder: Path | None = None) -> Iterator[Recording]:
    """Records the files that this process reads; below `folder` also those of native code."""
    _install()
    modules = list(sys.modules.values())
    record = Recording(frozenset(str(getattr(m, "__file__", None)) for m in modules))
    _active.append(record)
    watch = _watch(folder) if folder is not None else None
    try:
        yield record
    finally:
        _active.remove(record)
        if watch is not None:
            record.opened |= _drain(*watch)


def named(files: Iterable[Path], project: Path) -> list[str]:
    """Files by names that hold on any machine.

    `models/x/vocab.txt` for one in the project, `distribution:NAME` for a data file of an
    installed distribution, and the absolute path for others. Python itself, this package, code
    of distributions, devices, system files and temporary files are left out.
    """
    root = Path(os.path.realpath(project))
    return sorted({name for path in files if (name := _name(path, root)) is not None})


def editable(path: Path, project: Path) -> bool:
    """Whether this is the user's own code: in the project, not installed, not this package."""
    inside = path.is_relative_to(project) and not path.is_relative_to(BUILDER)
    return inside and not any(path.is_relative_to(site) for site in _sites())


def _name(path: Path, project: Path) -> str | None:
    text = str(path)
    if path.is_relative_to(BUILDER):
        return None
    for site in _sites():
        if path.is_relative_to(site):
            top = path.relative_to(site).parts[0]
            if path.suffix in CODE or top.endswith((".dist-info", ".egg-info", ".pth")):
                return None
            owner = _owners().get(top)
            return text if owner is None else f"distribution:{owner}"
    if path.is_relative_to(project):
        return path.relative_to(project).as_posix()
    if text.startswith(SYSTEM) or any(path.is_relative_to(p) for p in _ignored()):
        return None
    return text


def _source_of(path: Path) -> Path:
    """The source of a `.pyc`: what counts is what a person edits."""
    if path.suffix != ".pyc":
        return path
    try:
        return Path(importlib.util.source_from_cache(str(path)))
    except ValueError:
        return path


@functools.cache
def _install() -> None:
    """Adds the hook, once a process: audit hooks cannot be removed."""
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" or not _active:
        return
    path, _, flags = args
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str):
        return  # a file descriptor, whose opening was seen
    absolute = path if path.startswith("/") else str(Path.cwd() / path)
    writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
    for record in _active:
        (record.written if writes else record.opened).add(absolute)


@functools.cache
def _sites() -> tuple[Path, ...]:
    ends = ("site-packages", "dist-packages")
    return tuple(Path(os.path.realpath(entry)) for entry in sys.path if entry.endswith(ends))


@functools.cache
def _ignored() -> tuple[Path, ...]:
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sys.base_prefix]
    return tuple(Path(os.path.realpath(p)) for p in (*paths, sys.prefix, tempfile.gettempdir()))


@functools.cache
def _owners() -> dict[str, str]:
    """Distribution names by top-level name in site-packages."""
    found = importlib.metadata.packages_distributions()
    return {top: min(names) for top, names in found.items()}


def _watch(folder: Path) -> tuple[int, dict[int, str]] | None:
    """An inotify descriptor on a folder tree, and its folders by watch."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return None
    folders: dict[int, str] = {}
    for place, children, _ in os.walk(folder):
        children[:] = [c for c in children if not c.startswith((".", "__pycache__"))]
        number = libc.inotify_add_watch(descriptor, os.fsencode(place), IN_OPEN)
        if number >= 0:
            folders[number] = place
    return descriptor, folders


def _drain(descriptor: int, folders: dict[int, str]) -> set[str]:
    opened = set()
    try:
        while data := os.read(descriptor, 1 << 20):
            start = 0
            while start < len(data):
                number, mask, _, length = EVENT.unpack_from(data, start)
                start += EVENT.size
                name = os.fsdecode(data[start : start + length].rstrip(b"\0"))
                start += length
                data_file = not mask & IN_ISDIR and not name.endswith(SHARED)
                if name and data_file and number in folders:
                    opened.add(f"{folders[number]}/{name}")
    except BlockingIOError:
        return opened
    finally:
        os.close(descriptor)
    return opened
