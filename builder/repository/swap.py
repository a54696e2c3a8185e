"""A finished tree takes the place of the last one in a single step.

The new tree is made beside the old one, under a name that Triton and people pass over
(`.cpu.new-…`), and exchanged with it by rename. A build that fails or dies before leaves the
old tree as it was; what it left is swept by the next. What was exchanged may be of use to the next
build (`spare`). A folder that holds no manifest of ours is never touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError
from builder.files import disk_errors, remove, remove_tree, write_atomically
from builder.repository import manifest as manifests
from builder.repository import spare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.repository.manifest import Manifest

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def claim(repository: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds the only right to change a repository; waits while another build has it.

    Raises:
        InputError: what lies there is not a repository of ours.
    """
    check_ours(repository)
    with disk_errors(repository.parent):
        repository.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(_lock(repository), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build of {repository.name} is running; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(repository)
        yield
    finally:
        os.close(lock)


def drop_spare(repository: Path) -> None:
    """Removes a repository's spare, unless a build is at it: that one needs it."""
    try:
        lock = os.open(_lock(repository), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # never built, or not ours to change
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            spare.drop(repository)
    finally:
        os.close(lock)


def check_ours(repository: Path) -> None:
    """Refuses a folder with content but without our manifest.

    Raises:
        InputError: see above.
    """
    if not repository.exists() and not repository.is_symlink():
        return
    if not repository.is_dir():
        problem, found = "a file is in the way", "a file"
    elif manifests.is_ours(repository) or not any(repository.iterdir()):
        return
    else:
        problem = "this folder was not written by triton-builder"
        found = ", ".join(sorted(p.name for p in repository.iterdir())[:5])
    raise InputError(
        problem,
        where=f"{repository.parent.name}/{repository.name}",
        found=found,
        expected=f"nothing, or a repository with a {manifests.FILE}",
        fix="move it away, or choose another folder or target; nothing was changed",
    )


@contextmanager
def staging(repository: Path, worth: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """A folder beside the repository for the new tree; it holds what the spare did, if any.

    Args:
        repository: the one that is claimed.
        worth: asked in the end whether what then lies there, the former tree or one that was
            not swapped in, is to be the next build's spare; else it is removed.
    """
    with disk_errors(repository.parent):
        repository.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(
            tempfile.mkdtemp(prefix=f".{repository.name}.new-{os.getpid()}-", dir=repository.parent)
        )
        spare.take(repository, folder)
        folder.chmod(0o755)
    try:
        yield folder
    finally:
        if folder.exists() and worth():
            spare.keep(folder, repository)
        else:
            remove_tree(folder)


def swap_in(tree: Path, repository: Path, manifest: Manifest) -> None:
    """Writes the manifest, last, and exchanges the tree with what lies in the repository's place.

    Raises:
        WorkFailedError: the new tree was removed by somebody.
    """
    check_ours(repository)
    if not tree.is_dir():
        raise WorkFailedError(
            "the new tree was removed while it was made",
            where=f"{repository.parent.name}/{tree.name}",
            fix="build again: what was finished is kept",
        )
    write_atomically(tree / manifests.FILE, manifest.encode())
    with disk_errors(repository.parent):
        exchange(tree, repository)


def exchange(tree: Path, repository: Path) -> None:
    """Puts a tree in a folder's place in one step; what was there then lies where the tree was."""
    if not repository.exists():
        tree.rename(repository)
    else:
        _exchange(tree, repository)
    handle = os.open(repository.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def differences(repository: Path, manifest: Manifest, digest: Callable[[str], str]) -> list[str]:
    """Files that are not as the manifest says: changed, missing or added."""
    expected, root = dict(manifest.tree()), str(repository)
    found = set(_files(root)) - {manifests.FILE}
    changed = [n for n, (d, _) in expected.items() if n in found and digest(f"{root}/{n}") != d]
    return sorted([*changed, *(expected.keys() ^ found)])


def _files(root: str) -> Iterator[str]:
    """All that lies below a folder and is no folder, by relative path."""
    todo = [""]
    while todo:
        prefix = todo.pop()
        with os.scandir(f"{root}/{prefix}") as found:
            for entry in found:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{prefix}{entry.name}/")
                else:
                    yield f"{prefix}{entry.name}"


def _lock(repository: Path) -> Path:
    return repository.parent / f".{repository.name}.lock"


def sweep(repository: Path) -> None:
    """Removes the trees that killed builds left behind. Called with the claim held."""
    for folder in repository.parent.glob(f".{glob.escape(repository.name)}.new-*"):
        remove_tree(folder)


def _exchange(new: Path, old: Path) -> None:
    """Exchanges two folders in one step (renameat2(2)); in several where the system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename:
        paths = os.fsencode(new), os.fsencode(old)
        if rename(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
            return
    parent = Path(tempfile.mkdtemp(prefix=f".{old.name}.new-old-", dir=old.parent))
    aside = parent / old.name
    try:
        old.rename(aside)
    except OSError as e:
        if e.errno != errno.EXDEV:
            raise
        _copied(old, aside)
    new.rename(old)
    aside.rename(new)
    parent.rmdir()


def _copied(folder: Path, target: Path) -> None:
    """Moves a folder that cannot be renamed: one of a container's image, on overlayfs.

    Its manifest goes last: a folder that is left half-way is still known as ours.
    """
    shutil.copytree(folder, target, symlinks=True)
    for path in folder.iterdir():
        if path.name != manifests.FILE:
            remove(path)
    remove_tree(folder)
