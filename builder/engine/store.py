"""The store: blobs by digest, and records of actions by key.

    blobs/ab/<sha256>        read-only, whole (renamed into place after an fsync)
    actions/ab/<key>.json    records; several where the same key met different reads
    last/<id>.json           ingredients of an action's last run, to say what changed
    locks/<key>              held while an action runs, so that no two builds do it at once
    tmp/<pid>-*              work in progress; what a killed process left is removed

A blob is verified whenever it leaves the store; one that does not match its name is dropped
and its action is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.engine.digests import FileDigests, of_read
from builder.files import (
    disk_errors,
    link_or_copy,
    remove_tree,
    sha256,
    sync_file,
    write_atomically,
)
from builder.plan.evaluate import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

RECORDS_A_KEY = 8


class CorruptBlobError(Exception):
    """A blob does not have the digest that its name says. It has been dropped."""


class Store:
    """Results of actions, shared by all projects of a user."""

    def __init__(self, root: Path, project: Path) -> None:
        self.root = root
        self.project = project
        self.files = FileDigests(root / "index.json")

    # --- records -----------------------------------------------------------------------

    def find(self, key: str) -> Record | None:
        """The record of a key whose reads and blobs are all as they were."""
        for record in self._records(key):
            if self._changed_read(record) is None and self._whole(record):
                return record
        return None

    def stale(self, key: str) -> str | None:
        """The read that changed since, where only that keeps a key from being a hit."""
        for record in self._records(key):
            changed = self._changed_read(record)
            if changed:
                return changed.removeprefix("distribution:")
        return None

    def last(self, action: str) -> Mapping[str, Any] | None:
        """The ingredients of the last run of an action of this project."""
        try:
            value: dict[str, Any] = json.loads(self._last(action).read_text())
        except (OSError, ValueError):
            return None
        return value

    def keep(self, action: str, record: Record) -> None:
        """Remembers a result."""
        others = [r for r in self._records(record.key) if r.reads != record.reads]
        rows = [asdict(r) for r in [record, *others][:RECORDS_A_KEY]]
        write_atomically(self._action(record.key), json.dumps(rows).encode())
        self.note(action, record.ingredients)

    def note(self, action: str, ingredients: Mapping[str, Any]) -> None:
        """Remembers what an action was made of, for the next build's reasons."""
        if self.last(action) != ingredients:
            write_atomically(self._last(action), json.dumps(ingredients).encode())

    def _records(self, key: str) -> list[Record]:
        try:
            rows = json.loads(self._action(key).read_text())
            return [_record(row) for row in rows]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    def _changed_read(self, record: Record) -> str | None:
        for read, digest in record.reads.items():
            if of_read(read, self.project, self.files) != digest:
                return read
        return None

    def _whole(self, record: Record) -> bool:
        for digest, size in record.outputs.values():
            try:
                if self.blob(digest).stat().st_size != size:
                    return False
            except OSError:
                return False
        return True

    # --- blobs -------------------------------------------------------------------------

    def blob(self, digest: str) -> Path:
        """Where a blob lies, or would."""
        return self.root / "blobs" / digest[:2] / digest

    def take(self, folder: Path) -> dict[str, tuple[str, int]]:
        """Moves all files of a folder into the store; gives their digests and sizes."""
        outputs = {}
        with disk_errors(self.root):
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                digest, size = sha256(path), path.stat().st_size
                outputs[path.relative_to(folder).as_posix()] = (digest, size)
                target = self.blob(digest)
                if target.exists() and target.stat().st_size == size:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                sync_file(path)
                path.chmod(0o444)
                path.replace(target)
        return outputs

    def put(self, content: bytes) -> tuple[str, int]:
        """Puts bytes into the store."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.blob(digest)
        if not path.exists():
            write_atomically(path, content)
            path.chmod(0o444)
        return digest, len(content)

    def give(self, outputs: Mapping[str, tuple[str, int]], folder: Path) -> None:
        """Lays files out in a folder, as hard links where that can be.

        Raises:
            CorruptBlobError: a blob is not what its name says.
        """
        for name, (digest, _) in outputs.items():
            path = self.blob(digest)
            if sha256(path) != digest:
                path.unlink()
                raise CorruptBlobError(name)
            with disk_errors(folder):
                link_or_copy(path, folder / name)

    # --- work in progress --------------------------------------------------------------

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the store's file system that is gone afterwards."""
        parent = self.root / "tmp"
        with disk_errors(self.root):
            parent.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
        try:
            yield folder
        finally:
            remove_tree(folder)

    def sweep(self) -> None:
        """Removes the scratch folders of processes that are no more."""
        parent = self.root / "tmp"
        for folder in parent.iterdir() if parent.is_dir() else ():
            pid = folder.name.partition("-")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                remove_tree(folder)

    @contextmanager
    def sole(self, key: str) -> Iterator[None]:
        """Holds the right to do an action; waits while another build has it."""
        from filelock import FileLock

        lock = FileLock(self.root / "locks" / key)
        with disk_errors(self.root):
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _action(self, key: str) -> Path:
        return self.root / "actions" / key[:2] / f"{key}.json"

    def _last(self, action: str) -> Path:
        name = hashlib.sha256(f"{self.project}\0{action}".encode()).hexdigest()
        return self.root / "last" / name[:2] / f"{name}.json"


def _record(row: dict[str, Any]) -> Record:
    outputs = {name: (digest, size) for name, (digest, size) in row.pop("outputs").items()}
    return Record(outputs=outputs, **row)
