"""Digests of what lies outside the store: project files, packages, the builder's own code."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import json
import os
import re
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from stat import S_ISREG

from builder.errors import BuilderError, MissingError
from builder.files import sha256, write_atomically
from builder.plan.reads import (
    DISTRIBUTION,
    LISTING,
    MODULE,
    VARIABLE,
    counts,
)

SMALL = 1 << 16
"""Up to this size a file is hashed each time: as fast as asking the index, and never wrong."""

SETTLED_NS = 2_000_000_000
"""A file younger than this may change again within its time stamp: its digest is not kept."""

MISSING = "missing"


class FileDigests:
    """sha256 of files, with an index by size, time and inode for the large ones."""

    def __init__(self, index: Path) -> None:
        self._path = index
        self._changed = False
        try:
            known = json.loads(index.read_text())
        except (OSError, ValueError):
            known = {}
        self._index: dict[str, list[object]] = known if isinstance(known, dict) else {}

    def of(self, path: Path | str) -> str:
        """The digest of a file, or `missing`."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - an open descriptor
                stat = os.fstat(handle)
                if not S_ISREG(stat.st_mode):
                    return MISSING  # a pipe or a device would never end
                if stat.st_size <= SMALL:
                    return hashlib.sha256(file.readall()).hexdigest()
        except (OSError, ValueError):  # the latter for a name that can be none
            return MISSING
        mark = _mark(stat)
        known = self._index.get(str(path))
        if known and known[:4] == mark:
            return str(known[4])
        digest = sha256(path)
        self._keep(path, mark, stat.st_mtime_ns, digest)
        return digest

    def _keep(self, path: Path | str, mark: list[object], changed_ns: int, digest: str) -> None:
        if time.time_ns() - changed_ns > SETTLED_NS:
            self._index[str(path)] = [*mark, digest]
            self._changed = True

    def learn(self, path: Path, digest: str) -> None:
        """Takes it from somebody who knows that a file has this digest."""
        try:
            stat = path.stat()
        except OSError:
            return
        if stat.st_size > SMALL:
            self._keep(path, _mark(stat), stat.st_mtime_ns, digest)

    def save(self) -> None:
        """Keeps the index for the next build. Losing it costs time only."""
        if self._changed:
            with contextlib.suppress(BuilderError):
                write_atomically(self._path, json.dumps(self._index).encode())
            self._changed = False


def _mark(stat: os.stat_result) -> list[object]:
    """What changes when a file does, also where its time stamp is put back (ctime)."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


SUFFIXES = (
    *importlib.machinery.EXTENSION_SUFFIXES,
    *importlib.machinery.SOURCE_SUFFIXES,
    *importlib.machinery.BYTECODE_SUFFIXES,
)
"""Of modules, in the order in which an import tries them."""


def of_read(read: str, project: Path, files: FileDigests) -> str:
    """The digest of a discovered read: of a file's content, or of what its kind says."""
    if read.startswith(DISTRIBUTION):
        return distribution(read.removeprefix(DISTRIBUTION)) or MISSING
    if read.startswith(MODULE):
        return _module(str(project / read.removeprefix(MODULE)))
    if read.startswith(LISTING):
        return _listing(project, read.removeprefix(LISTING))
    if read.startswith(VARIABLE):
        value = os.environ.get(read.removeprefix(VARIABLE))
        return MISSING if value is None else hashlib.sha256(f"{read}\0{value}".encode()).hexdigest()
    return files.of(os.path.join(project, read))  # noqa: PTH118 - asked thousands of times


def name_of(read: str) -> str:
    """A discovered read as people call it."""
    if read.startswith(MODULE):
        return f"the import of {read.removeprefix(MODULE)}"
    if read.startswith(LISTING):
        return f"the list of files in {read.removeprefix(LISTING)}"
    return read.removeprefix(DISTRIBUTION).removeprefix(VARIABLE)


def _module(path: str) -> str:
    """What an import finds in a folder under a name: how that goes on after `path`."""
    is_folder = os.path.isdir(path)  # noqa: PTH112 - asked thousands of times
    for start in (f"{os.sep}__init__", "") if is_folder else ("",):
        for suffix in SUFFIXES:
            if os.path.isfile(f"{path}{start}{suffix}"):  # noqa: PTH113
                return f"{start}{suffix}"
    return os.sep if is_folder else MISSING  # a namespace


def _listing(project: Path, folder: str) -> str:
    """The names in a folder, whatever their order."""
    try:
        names = os.listdir(project / folder)  # noqa: PTH208 - names are all that is needed
    except OSError:
        return MISSING
    start = "" if folder == "." else f"{folder}/"
    shown = sorted(name for name in names if counts(start + name))
    return hashlib.sha256(b"\0".join(map(os.fsencode, shown))).hexdigest()


@cache
def distribution(name: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python() -> str:
    """The running Python, as far as it can change an output."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


_IMPORT = re.compile(r"^\s*from (builder(?:\.\w+)*) import (?:\(([^)]*)\)|([\w, ]+))", re.MULTILINE)
_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:(?: .*)?\n)+", re.MULTILINE)


@cache
def code(*modules: str) -> str:
    """The digest of the builder's own modules and all of the builder that they import."""
    root = Path(__file__).parent.parent.parent
    todo, seen = list(modules), dict[str, bytes]()
    while todo:
        name = todo.pop()
        path = root.joinpath(*name.split("."))
        file = (
            path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
        )
        if name in seen or not file.is_file():
            continue
        text = file.read_bytes()
        seen[name] = hashlib.sha256(text).digest()
        for package, block, line in _IMPORT.findall(_TYPES.sub("", text.decode())):
            todo.append(package)
            todo += [
                f"{package}.{part.split()[0]}"
                for part in (block or line).split(",")
                if part.strip()
            ]
    total = hashlib.sha256()
    for name in sorted(seen):
        total.update(name.encode() + b"\0" + seen[name])
    return total.hexdigest()[:16]


def cache_folder() -> Path:
    """Where the store and installed servers live: $TRITON_BUILDER_CACHE, or the user's cache."""
    own = os.environ.get("TRITON_BUILDER_CACHE")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base).absolute() / "triton-builder"
    try:
        return Path.home().absolute() / ".cache" / "triton-builder"
    except RuntimeError as e:
        raise MissingError(
            "there is no place for the cache",
            where="$TRITON_BUILDER_CACHE",
            found=f"no $HOME, and no home of user {os.geteuid()}",
            expected="a folder that this user may write",
            fix="set TRITON_BUILDER_CACHE to one",
        ) from e
