"""The store: results of actions, shared by all projects of a user, backed by a remote one.

    blobs/ab/<sha256>        files by digest
    actions/ab/<key>.json    records by key
    last/<project>.json      the key that each action of a project had last
    roots/<repository>.json  keys that a repository stands for, which `gc` keeps
    tmp/<pid>-*/             leases: work in progress of running processes
    timings/                 what TensorRT measured of layers, kept by those who build plans
    gate, keys               locks
    ../sources/<tree>/       on a node of a cluster: the projects of those whose actions run here

What is not here is asked of the remote cache: its records are believed when they fit their
key, its blobs when they fit their digest, and these are fetched when somebody wants them.
"""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from builder.files import disk_errors, remove_tree
from builder.plan.evaluate import Last, Record
from builder.store import leases
from builder.store.blobs import Blobs, DamagedError
from builder.store.digests import FileDigests, name_of, of_read
from builder.store.history import History
from builder.store.leases import Leases
from builder.store.records import Records, decode, encode
from builder.store.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from builder.remote.cache import Remote


def sources(root: Path) -> Path:
    """Where a node of a cluster keeps the projects of builds elsewhere, by their trees' names."""
    return root.parent / "sources"


class Store:
    """The results that one project on one target may use. A `Memory` of the plan.

    Attributes:
        received: how many results have come from the remote, and were not here before.
    """

    def __init__(
        self, root: Path, project: Path, target: str = "", remote: Remote | None = None
    ) -> None:
        self.root = root
        self.project = project
        self.remote = remote
        self.blobs = Blobs(root / "blobs")
        self.records = Records(root / "actions")
        self.leases = Leases(root / "tmp", root / "gate")
        self.files = FileDigests(root / "index.json")
        name = hashlib.sha256(f"{project}\0{target}".encode()).hexdigest()
        self.roots = Roots(root / "roots")
        self.history = History(root / "last" / f"{name}.json")
        self._heard: dict[str, list[Record]] = {}
        self._lost: set[str] = set()
        self.received = 0

    # --- what the plan asks ------------------------------------------------------------

    def expect(self, keys: Collection[str]) -> None:
        """Asks the remote, at once, for the keys that are not here."""
        if self.remote:
            here = self.records.path
            self._hear([k for k in keys if k not in self._heard and not here(k).exists()])

    def find(self, key: str) -> Record | None:
        """The record of a key whose reads are as they were, and whose blobs can be had."""
        own = self.records.of(key)
        for record in own:
            if self._changed_read(record) is None and self._use(record):
                return record
        for record in self._remote_records(key):
            lost = any(digest in self._lost for digest, _ in record.outputs.values())
            if not lost and self._changed_read(record) is None:
                if record in own:  # it came earlier, and nobody has needed its blobs yet
                    self.records.used(key)
                else:
                    self.records.keep(record)
                    self.received += 1
                return record
        return None

    def stale(self, key: str) -> str | None:
        """The read that changed since, where only that keeps a key from being a hit."""
        for record in [*self.records.of(key), *self._remote_records(key)]:
            changed = self._changed_read(record)
            if changed:
                return name_of(changed)
        return None

    def last(self, action: str) -> Last | None:
        """What is known of an action of this project from the last build."""
        key = self.history.key(action)
        return Last(key, next(iter(self.records.of(key)), None)) if key else None

    # --- what is done ------------------------------------------------------------------

    def keep(self, record: Record) -> None:
        """Remembers a result whose blobs were taken or put."""
        self.records.keep(record)

    def learn(self, record: Record) -> None:
        """Remembers a result whose blobs are in the remote."""
        self.records.keep(record)
        self._heard[record.key] = [record]

    def take(self, folder: Path) -> dict[str, tuple[str, int]]:
        """Moves all files of a folder into the store; gives their digests and sizes."""
        with self.passing():
            return self.blobs.take(folder)

    def put(self, content: bytes) -> tuple[str, int]:
        """Puts bytes into the store; gives their digest and size."""
        with self.passing():
            return self.blobs.put(content)

    def absent(self, outputs: Mapping[str, tuple[str, int]]) -> dict[str, int]:
        """Sizes by digest of the blobs that are not on this disk."""
        return {d: size for d, size in outputs.values() if not self.blobs.holds(d, size)}

    def fetch(self, outputs: Mapping[str, tuple[str, int]]) -> None:
        """Brings blobs that are not on this disk from the remote, as far as it has them.

        Raises:
            DamagedError: some could not be had; one of them.
        """
        absent = self.absent(outputs)
        if not absent:
            return
        arrived = self.remote.fetch(absent, self.blobs.path) if self.remote else set[str]()
        lost = absent.keys() - arrived
        for digest in lost:
            self._lost.add(digest)
            self.blobs.drop(digest)  # what is there has another size
        if lost:
            raise DamagedError(min(lost))

    def give(self, outputs: Mapping[str, tuple[str, int]], folder: Path) -> None:
        """Lays files out in a folder, as hard links where that can be.

        Raises:
            DamagedError: a blob is not what its name says, or could not be had.
        """
        self.fetch(outputs)
        self.blobs.give(outputs, folder)

    def file(self, output: tuple[str, int]) -> Path:
        """The file of one output, checked, to be read where it lies.

        Raises:
            DamagedError: see `give`.
        """
        self.fetch({"": output})
        return self.blobs.checked(output[0])

    def share(self, record: Record) -> None:
        """Gives a result to the remote, if that takes any."""
        if self.remote and not self.remote.read_only and self.remote.alive:
            blobs = {digest: self.blobs.path(digest) for digest, _ in record.outputs.values()}
            self.remote.push(record.key, encode(self.records.of(record.key)), blobs)

    # --- work in progress --------------------------------------------------------------

    def sweep(self) -> None:
        """Removes what processes that are no more left behind."""
        with disk_errors(self.root), self.leases.shut():
            self.leases.oldest()

    @contextmanager
    def scratch(self, lease: Path | None = None) -> Iterator[Path]:
        """A folder on the store's file system that is gone afterwards.

        Args:
            lease: where to make it; a lease of its own by default.
        """
        if lease is None:
            with self.leases.take() as folder:
                yield folder
            return
        with disk_errors(self.root):
            folder = Path(tempfile.mkdtemp(dir=lease))
        try:
            yield folder
        finally:
            remove_tree(folder)

    @contextmanager
    def sole(self, key: str) -> Iterator[None]:
        """Holds the right to do an action; waits while another build has it."""
        with leases.sole(self.root / "keys", key):
            yield

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Keeps `gc` out for a moment: what is found is not dropped before it is used."""
        with disk_errors(self.root), self.leases.passing():
            yield

    # --- records -----------------------------------------------------------------------

    def _use(self, record: Record) -> bool:
        """Whether all blobs of a record are here; if so, it counts as used now."""
        with self.passing():
            if self.absent(record.outputs):
                return False
            self.records.used(record.key)
            return True

    def _remote_records(self, key: str) -> list[Record]:
        if self.remote and key not in self._heard:
            self._hear([key])
        return self._heard.get(key, [])

    def _hear(self, keys: Collection[str]) -> None:
        if not self.remote or not keys:
            return
        found = self.remote.records(keys)
        for key in keys:
            try:
                rows = decode(found[key], key, trusted=False) if key in found else []
            except ValueError:
                self.remote.distrust(key)
                rows = []
            self._heard[key] = rows

    def _changed_read(self, record: Record) -> str | None:
        for read, digest in record.reads.items():
            if of_read(read, self.project, self.files) != digest:
                return read
        return None
