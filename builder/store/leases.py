"""Who uses the store at this moment: leases of running processes, and the gate to what is kept.

A lease is a folder for work in progress with a lock that its process holds as long as it lives,
whatever ends it; so a folder whose lock is free belongs to nobody. The kernel frees the lock,
in containers with process ids of their own as well.

The gate is what collecting garbage closes, for moments. Whoever finds something in the store
and marks it as used passes through it, so that nothing is thrown away between the two.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.files import disk_errors, remove, remove_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCK = ".lock"


class Leases:
    """Leases on a store, by folder: `<root>/<pid>-…/`."""

    def __init__(self, root: Path, gate: Path) -> None:
        self.root = root
        self.gate = gate
        self._inside = threading.local()

    @contextmanager
    def take(self) -> Iterator[Path]:
        """A lease for as long as it is held; gives its folder, which is gone afterwards."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with self.passing():
                folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.root))
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            for path in folder.glob("[!.]*"):
                remove(path)
            with self.passing():
                _give_up(folder, lock)

    def oldest(self) -> float | None:
        """When the oldest lease that is held was taken, in seconds; sweeps what the dead left.

        Call it with the gate shut.
        """
        times = []
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            try:
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                remove_tree(folder)  # of somebody who was killed while taking it, or leaving it
                continue
            except NotADirectoryError:
                continue  # somebody else's file
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                times.append(os.fstat(lock).st_mtime)
                os.close(lock)
            else:
                _give_up(folder, lock)
        return min(times, default=None)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Passes through the gate; waits while it is shut. Who is in it may do so again."""
        if getattr(self._inside, "now", False):
            yield
            return
        with self._flocked(fcntl.LOCK_SH, os.O_RDONLY):
            self._inside.now = True
            try:
                yield
            finally:
                self._inside.now = False

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Shuts the gate; waits until nobody is in it."""
        with self._flocked(fcntl.LOCK_EX, os.O_RDWR):  # NFS locks no reader's file for one alone
            yield

    @contextmanager
    def _flocked(self, how: int, access: int) -> Iterator[None]:
        lock = self._open(access | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

    def _open(self, flags: int) -> int:
        try:
            return os.open(self.gate, flags, 0o644)
        except PermissionError:  # somebody else's store: enough to lock it, but on NFS
            return os.open(self.gate, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.gate.parent.mkdir(parents=True, exist_ok=True)
            return os.open(self.gate, flags, 0o644)


def _give_up(folder: Path, lock: int) -> None:
    """Lets go of a lease, and removes its folder; nobody else may be sweeping.

    In this order: what is open cannot be removed on NFS and FUSE, it only gets another name there.
    """
    os.close(lock)
    remove_tree(folder)


@contextmanager
def sole(file: Path, key: str) -> Iterator[None]:
    """Holds the right to do the action of a key; waits while another process has it.

    One file serves all keys, a byte each: locks of millions of keys leave nothing behind.
    """
    with disk_errors(file.parent):
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX, 1, int(key[:15], 16))
        yield
    finally:
        os.close(lock)
