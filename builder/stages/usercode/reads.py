"""Which files were read while somebody's Python ran: inputs that no spec declares.

Python's audit hook sees every file that Python opens. Native code (safetensors, tokenizers,
Arrow) opens files behind its back; inside the model's own folder the kernel is asked as
well, where it is Linux. Native reads elsewhere stay unseen: those belong in the spec.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
import tempfile
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.plan.reads import DISTRIBUTION, counts
from builder.stages.usercode.inotify import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CODE = (".py", ".so", ".dylib", ".pyd")
"""Suffixes that are code: outside the project, the toolchain's versions stand for them."""

BUILDER = Path(__file__).resolve().parents[2]
"""This package: in a development checkout it lies inside the project that it builds."""

SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/run/", "/usr/")
SHARED = (*CODE, ".pyc", ".yaml", ".yml", ".md")
"""Suffixes that the kernel's word is not taken for: other processes open these, and native
code has no use for them."""


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

    def others(self, project: Path) -> tuple[Path, ...]:
        """Names in the project that were to be opened and are no file, or lead to one elsewhere.

        What such a link leads to may change without the file changing that it led to.
        """
        root = Path(os.path.realpath(project))
        found = set()
        for path in self.opened - self.written:
            plain, real = Path(os.path.normpath(path)), Path(os.path.realpath(path))
            if (plain != real or not real.exists()) and plain.is_relative_to(root):
                found.add(plain)
        names = {path: path.relative_to(root).as_posix() for path in found}
        return tuple(sorted(p for p, name in names.items() if counts(name) and not _site(p)))


_active: list[Recording] = []


@contextmanager
def recording(folder: Path | None = None) -> Iterator[Recording]:
    """Records the files that this process reads; below `folder` also those of native code."""
    _install()
    modules = list(sys.modules.values())
    record = Recording(frozenset(str(getattr(m, "__file__", None)) for m in modules))
    _active.append(record)
    try:
        with opened(folder) if folder is not None else nullcontext(set[str]()) as natively:
            yield record
    finally:
        _active.remove(record)
    record.opened |= {path for path in natively if not path.endswith(SHARED)}


def named(files: Iterable[Path], project: Path) -> list[str]:
    """Files by names that hold on any machine.

    `models/x/vocab.txt` for one in the project, `distribution:NAME` for a data file of an
    installed distribution, and the absolute path for others. Python itself, this package, code
    of distributions, devices, system files and temporary files are left out.
    """
    root = Path(os.path.realpath(project))
    return sorted({name for path in files if (name := _name(path, root)) is not None})


def below(paths: Iterable[Path], project: Path) -> list[str]:
    """Resolved paths in the project, relative to it."""
    root = Path(os.path.realpath(project))
    return sorted(p.relative_to(root).as_posix() for p in paths if p.is_relative_to(root))


def distributions(modules: Iterable[str]) -> list[str]:
    """The distributions that top-level modules come with; none of a module without one."""
    return sorted({owner for module in modules for owner in _owners().get(module, ())})


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
            owners = _owners().get(top)
            return f"{DISTRIBUTION}{owners[0]}" if owners else text
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


def _site(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


@functools.cache
def _sites() -> tuple[Path, ...]:
    ends = ("site-packages", "dist-packages")
    return tuple(Path(os.path.realpath(entry)) for entry in sys.path if entry.endswith(ends))


@functools.cache
def _ignored() -> tuple[Path, ...]:
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sys.base_prefix]
    return tuple(Path(os.path.realpath(p)) for p in (*paths, sys.prefix, tempfile.gettempdir()))


@functools.cache
def _owners() -> dict[str, tuple[str, ...]]:
    """Distribution names by top-level name in site-packages; sorted, as several may share one."""
    found = importlib.metadata.packages_distributions()
    return {top: tuple(sorted(set(names))) for top, names in found.items()}
