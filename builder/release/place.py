"""A folder that releases are pulled into, and what lies beside it.

DIR                      the tree, with its manifest.json; read-only files
.DIR.lock                held by whoever changes DIR, a build too
.DIR.pull/blobs/         files by digest, unless a cache for the whole node is named
.DIR.pull/state.json     what DIR holds, and how its files looked when they were verified
.DIR.new-…               a tree that is being made

A DIR that is a link means the folder that it leads to.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.files import disk_errors, remove_tree, write_atomically
from builder.release import layout
from builder.release.store import read
from builder.repository import manifest as manifests
from builder.repository import spare, swap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from builder.release.store import Release
    from builder.repository.manifest import Manifest

FULL = (
    "free some space, or give --cache and DIR places on a larger disk; what came of large files "
    "is kept, and the next pull goes on from there"
)
STATE = "state.json"
UNWRITABLE = "make it writable, or name other places for DIR and --cache"


@dataclass(frozen=True)
class State:
    """What a folder was last found to hold.

    Attributes:
        release: the release, or "".
        models: its models that are here.
        marks: by file, how it looked when it was verified: inode, size, time of change in ns.
            Not the time of its status: that changes with every hard link.
    """

    release: str = ""
    models: tuple[str, ...] = ()
    marks: Mapping[str, list[int]] = field(default_factory=dict)


class Place:
    """A folder that releases are pulled into.

    Args:
        folder: the folder that Triton is given.
        cache: a folder of files by digest that pods of a node share; one beside `folder` if None.

    Raises:
        InputError: something else lies there, or it is a mount point.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self.folder = Path(os.path.realpath(folder))
        if self.folder.is_mount():
            raise InputError(
                "a mount point cannot be swapped",
                where=str(self.folder),
                expected="a folder below it",
                fix=f"pull into {self.folder / 'repository'}, and give Triton that",
            )
        swap.check_ours(self.folder)
        self.shared = cache is not None
        self._work = self.folder.with_name(f".{self.folder.name}.pull")
        self._cache = cache.absolute() if cache else self._work

    def blob(self, digest: str) -> Path:
        """Where a file lies by its digest."""
        return self._cache / layout.blob(digest)

    @contextmanager
    def claim(self, say: Callable[[str], None]) -> Iterator[None]:
        """Holds the only right to change the folder; waits while another process has it."""
        waiting = f"another process changes {self.folder.name}; waiting for it"
        with swap.claim(self.folder, lambda _: say(waiting)):
            spare.drop(self.folder)  # of builds: a pulled tree is made of nothing
            yield

    def holds(self, release: Release, manifest: Manifest) -> bool:
        """Whether all of it is there already, each file as it looked when it was verified."""
        state = state_of(self.folder)
        if (state.release, state.models) != (release.name, tuple(sorted(manifest.models))):
            return False
        digests = {name: digest for name, (digest, _) in manifest.tree()}

        def seen(path: str) -> str:
            name = Path(path).relative_to(self.folder).as_posix()
            return digests[name] if state.marks.get(name) == mark(Path(path)) else "changed"

        try:
            there = (self.folder / manifests.FILE).read_bytes()
            return there == release.content and not swap.differences(self.folder, manifest, seen)
        except OSError:
            return False

    def verified(self) -> dict[str, Path]:
        """Files of the present tree, by digest, that look as they did when they were verified."""
        state = state_of(self.folder)
        try:
            present = read((self.folder / manifests.FILE).read_bytes(), manifests.FILE)
        except (OSError, WorkFailedError):
            return {}
        if state.release != present.name:
            return {}
        return {
            digest: self.folder / name
            for name, (digest, _) in present.manifest.tree()
            if (known := state.marks.get(name)) and known == mark(self.folder / name)
        }

    def exchange(self, tree: Path, release: Release, manifest: Manifest) -> None:
        """Puts a tree in the folder's place; what was there then lies where the tree was."""
        marks = {name: mark(tree / name) for name, _ in manifest.tree()}
        with disk_errors(self.folder.parent):
            for folder, _, _ in os.walk(tree):
                Path(folder).chmod(0o755)  # Triton may run as somebody else
                _sync(folder)
            swap.exchange(tree, self.folder)
        self.remember(release, manifest, marks)

    def remember(
        self, release: Release, manifest: Manifest, marks: Mapping[str, list[int] | None]
    ) -> None:
        """Remembers how the files of the folder looked when they were verified."""
        value = {"release": release.name, "models": sorted(manifest.models), "marks": marks}
        with suppress(BuilderError):  # it is done; what is lost is the next pull's ease
            write_atomically(self._work / STATE, json.dumps(value).encode())

    def tidy(self, *manifests: Manifest) -> None:
        """Drops files of other releases from a cache that is the folder's own."""
        if self.shared:
            return
        keep = {digest for manifest in manifests for _, (digest, _) in manifest.tree()}
        for folder in (self._cache / layout.BLOBS / "sha256").glob("*"):
            for file in folder.iterdir():
                if file.name not in keep:
                    file.unlink(missing_ok=True)
            if not any(folder.iterdir()):
                remove_tree(folder)


def state_of(folder: Path) -> State:
    """What a folder was last found to hold."""
    path = Path(os.path.realpath(folder))
    try:
        value = json.loads((path.with_name(f".{path.name}.pull") / STATE).read_bytes())
        return State(value["release"], tuple(value["models"]), dict(value["marks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return State()


@contextmanager
def disks(folder: Path) -> Iterator[None]:
    """Says what is wrong with the disks here, and what a pull can do about it.

    Raises:
        WorkFailedError: one is full, or fails.
        MissingError: one may not be written.
    """
    try:
        with disk_errors(folder):
            yield
    except (WorkFailedError, MissingError) as e:
        if "TRITON_BUILDER_CACHE" in (e.fix or ""):
            e.fix = UNWRITABLE if isinstance(e, MissingError) else FULL
        raise
    except OSError as e:
        raise WorkFailedError(
            "a file could not be written or read",
            where=str(e.filename or folder),
            found=e.strerror,
            fix="pull again; the folder is as it was",
        ) from e


def mark(path: Path) -> list[int] | None:
    """How a file looks from outside; None where there is none."""
    try:
        stat = path.lstat()
    except OSError:
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
