"""A project's files as a value: what a node needs to run a source as it would run here.

A tree names files by path and digest; its own digest names it. It travels through the remote
cache like any result, and lies on a node under that name, so that every build of the same
files shares one folder there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import MissingError
from builder.files import remove_tree
from builder.store.digests import MISSING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from builder.remote.cache import Remote
    from builder.store.digests import FileDigests
    from builder.store.store import Store

FOREIGN = ("__pycache__", "node_modules")
"""Names of folders that hold nothing of the project's own."""

OUTPUT = "repository"
"""The build's own output, at the top."""

ENVIRONMENT = "pyvenv.cfg"
"""The file that makes a folder a virtual environment: a node has its own."""


@dataclass(frozen=True)
class Tree:
    """The files of a project.

    Attributes:
        files: path → (sha256, size in bytes).
        programs: those of them that may be executed.
        links: path → target, of symbolic links that stay inside the project.
    """

    files: Mapping[str, tuple[str, int]]
    programs: tuple[str, ...]
    links: Mapping[str, str]

    def encode(self) -> bytes:
        """The tree as bytes, the same for the same files."""
        parts = {"files": self.files, "programs": self.programs, "links": self.links}
        return json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, content: bytes) -> Tree:
        """What `encode` gave."""
        parts: dict[str, Any] = json.loads(content)
        files = {path: (sha, size) for path, (sha, size) in parts["files"].items()}
        return cls(files, tuple(parts["programs"]), parts["links"])


def tree(root: Path, digests: FileDigests, without: Collection[Path] = ()) -> Tree:
    """The files of a project, less hidden ones, build output and environments.

    Hidden files stay here because secrets are kept in them (`.env`, `.netrc`). A symbolic link
    inside the project stays one; what a link out of it leads to travels in its place.

    Args:
        root: the project's folder.
        digests: to ask for the digest of a file.
        without: folders that do not belong to it either, wherever they lie.
    """
    top = Path(os.path.realpath(root))
    left_out = {os.path.realpath(top / OUTPUT), *(os.path.realpath(p) for p in without)}
    files, programs, links = {}, [], {}
    for path, name in _walk(top, "", frozenset(left_out), (str(top),)):
        if path.is_symlink() and _inside(path, top):
            links[name] = os.path.relpath(os.path.realpath(path), path.parent)
            continue
        digest = digests.of(path)
        if digest == MISSING or not path.is_file():
            continue  # a socket, a link to nothing: nobody can read it here either
        files[name] = (digest, path.stat().st_size)
        if os.access(path, os.X_OK):
            programs.append(name)
    return Tree(files, tuple(sorted(programs)), links)


def push(found: Tree, root: Path, remote: Remote) -> str | None:
    """Gives a tree to the remote cache; its name there, None where that took it not."""
    content = found.encode()
    name = hashlib.sha256(content).hexdigest()
    blobs = {digest: root / path for path, (digest, _) in found.files.items()}
    return name if remote.push(name, content, blobs) else None


def lay_out(name: str, place: Path, store: Store, remote: Remote) -> None:
    """Lays a tree out in a folder, unless it is there already; it appears whole, read-only.

    Raises:
        MissingError: the remote cache has no such tree.
        DamagedError: a file of it could not be had.
    """
    with store.passing():
        if place.is_dir():
            os.utime(place)  # used now: `gc` looks at it
            return
    content = remote.records([name]).get(name, b"")
    if hashlib.sha256(content).hexdigest() != name:
        raise MissingError(
            "the remote cache does not give the project's sources",
            found=f"{len(content)} bytes" if content else "nothing",
            expected=f"the tree {name[:12]}",
            fix="see that every node can read remote-cache, with credentials of its own",
        )
    found = Tree.decode(content)
    place.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        store.give(found.files, work)
        for path in found.programs:
            _executable(work / path)
        for path, target in found.links.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            (work / path).symlink_to(target)
        for folder, _, _ in os.walk(work, topdown=False):
            Path(folder).chmod(0o555)
        _move(work, place)
    finally:
        remove_tree(work)


def _walk(
    folder: Path, prefix: str, left_out: frozenset[str], above: tuple[str, ...]
) -> Iterator[tuple[Path, str]]:
    """Files and inner links below a folder, with their names; `above` guards against circles."""
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        path, real = Path(entry.path), os.path.realpath(entry.path)
        name = f"{prefix}{entry.name}"
        if entry.name.startswith(".") or entry.name in FOREIGN or real in left_out:
            continue
        inner = entry.is_symlink() and _inside(path, Path(above[0]))
        if inner or not entry.is_dir():
            yield path, name
        elif real not in above and not (path / ENVIRONMENT).exists():
            yield from _walk(path, f"{name}/", left_out, (*above, real))


def _inside(link: Path, top: Path) -> bool:
    """Whether a link leads to a place in the project that travels too."""
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(top):
        return False
    return not any(p.startswith(".") or p in FOREIGN for p in target.relative_to(top).parts)


def _executable(path: Path) -> None:
    """Makes a file executable, apart from the blob that it is a link to."""
    copy = path.with_name(f".{path.name}")
    shutil.copyfile(path, copy)
    copy.chmod(0o555)
    copy.replace(path)


def _move(work: Path, place: Path) -> None:
    try:
        work.rename(place)
    except OSError:
        if not place.is_dir():
            raise  # else another process of this node was first
