"""The folder that Triton is given, and what an agent keeps beside it.

DIR                        the tree that is served
.DIR.agent/lock            held by the one agent that follows into DIR
.DIR.agent/state.json      see `state.py`
.DIR.agent/<release>/      a tree that came, or that was served before
.DIR.agent/bridge/         a tree between two: the new one, with versions that the old one calls
.DIR.agent/rehearsal/      models under other names, before and after they lie in DIR

A tree comes into DIR, and goes, whole and in one step. Models that are rehearsed lie in DIR for as
long as that takes, under names that no model of anybody's has.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.agent import tree as trees
from builder.agent.state import State, decode
from builder.errors import InputError
from builder.files import (
    disk_errors,
    link_or_copy,
    remove,
    remove_tree,
    sync_file,
    write_atomically,
)
from builder.repository import manifest as manifests
from builder.repository import swap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.agent.tree import Tree

REHEARSAL = ".rehearsal-"
"""In the names of models that are rehearsed; model names have no dot."""


class Home:
    """See above.

    Args:
        folder: DIR.

    Raises:
        InputError: something else lies there, or it is a mount point.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.work = self.folder.with_name(f".{self.folder.name}.agent")
        self.rehearsal = self.work / "rehearsal"
        self.bridge = self.work / "bridge"
        swap.check_ours(self.folder)
        if self.folder.is_mount():
            raise InputError(
                "a mount point cannot be swapped",
                where=str(self.folder),
                expected="a folder below it",
                fix=f"follow into {self.folder / 'repository'}, and give Triton that",
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the only right to follow into DIR.

        Raises:
            InputError: another agent has it.
        """
        with disk_errors(self.folder.parent):
            self.work.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.work / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as e:
            raise InputError(
                "another agent follows a channel into this folder",
                where=str(self.folder),
                fix="stop it first, or give each a folder of its own",
            ) from e
        finally:
            os.close(handle)

    # --- state -------------------------------------------------------------------------

    def state(self) -> State:
        """What was remembered last."""
        try:
            return decode((self.work / "state.json").read_bytes())
        except OSError:
            return State()

    def remember(self, state: State) -> None:
        """Remembers, before anything else is done."""
        write_atomically(self.work / "state.json", state.encode())

    # --- trees -------------------------------------------------------------------------

    def current(self) -> Tree | None:
        """The tree in DIR."""
        return trees.read(self.folder)

    def place(self, release: str) -> Path:
        """Where a release's tree lies that is not in DIR."""
        return self.work / release.replace(":", "-")

    def find(self, release: str) -> Tree | None:
        """A release's tree, wherever it lies."""
        for folder in (self.folder, *sorted(self.work.iterdir())):
            if trees.release_of(folder) == release:
                return trees.read(folder)
        return None

    def put(self, folder: Path) -> None:
        """Puts a tree into DIR; what was there then lies where its release belongs."""
        with disk_errors(self.folder.parent):
            sync_file(folder / manifests.FILE)
            for place, _, _ in os.walk(folder):
                _sync(place)
            swap.exchange(folder, self.folder)
            before = trees.release_of(folder)
            if before and folder != self.place(before):
                remove_tree(self.place(before))
                folder.rename(self.place(before))

    def tidy(self, *releases: str) -> None:
        """Removes what lies beside DIR, but for what must survive, and trees of these releases."""
        keep = {"lock", "state.json", *(self.place(release).name for release in releases)}
        for path in self.work.iterdir():
            if path.name not in keep:
                remove(path)

    # --- rehearsals --------------------------------------------------------------------

    def admit(self, name: str) -> None:
        """Puts a model that lies in the rehearsal's folder into DIR."""
        (self.rehearsal / name).rename(self.folder / name)

    def dismiss(self) -> None:
        """Takes models that were rehearsed out of DIR, each in one step; then removes them."""
        self.rehearsal.mkdir(parents=True, exist_ok=True)
        if self.folder.is_dir():
            for folder in self.folder.iterdir():
                if REHEARSAL in folder.name:
                    folder.rename(self.rehearsal / folder.name)
        remove_tree(self.rehearsal)


def link(source: Path, target: Path) -> None:
    """Links a file, or all files below a folder."""
    if source.is_file():
        link_or_copy(source, target)
    for place, _, names in os.walk(source):
        for name in names:
            file = Path(place) / name
            link_or_copy(file, target / file.relative_to(source))


def _sync(folder: str | Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
