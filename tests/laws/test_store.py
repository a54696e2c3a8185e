"""The store, whatever happens to its files: what it gives is what it took."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from builder.plan.evaluate import Record
from builder.store.blobs import DamagedError
from builder.store.store import Store

KEYS = st.sampled_from(["0" * 64, "1" * 64])
CONTENTS = st.sampled_from([b"", b"a", b"b", b"aa", b"ab", bytes(100)])
NAMES = st.sampled_from(["one", "two", "folder/three"])
READS = st.sampled_from(["vocabulary.txt", "words/list.txt"])
WHO = st.integers(0, 1)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


INGREDIENTS = {"stage": "s", "params": {}, "files": {}, "inputs": {}, "tools": {}}


class StoreMachine(RuleBasedStateMachine):
    """Two users of one store; the model knows what each record and blob ought to be."""

    outputs = Bundle("outputs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.root, self.project = self.folder / "store", self.folder / "project"
        self.root.mkdir()
        self.project.mkdir()
        self.users = [Store(self.root, self.project) for _ in range(2)]
        self.kept: dict[str, list[Record]] = {}
        self.contents: dict[str, bytes] = {}
        self.whole: set[str] = set()
        self.steps = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def fresh(self) -> Path:
        self.steps += 1
        folder = self.folder / f"work {self.steps}"
        folder.mkdir()
        return folder

    # --- what a build does -------------------------------------------------------------

    @rule(target=outputs, who=WHO, files=st.dictionaries(NAMES, CONTENTS, max_size=3))
    def take(self, who: int, files: dict[str, bytes]) -> dict[str, tuple[str, int]]:
        folder = self.fresh()
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        found = self.users[who].take(folder)
        assert found == {n: (sha(c), len(c)) for n, c in files.items()}
        self._know(files.values())
        return found

    @rule(target=outputs, who=WHO, content=CONTENTS)
    def put(self, who: int, content: bytes) -> dict[str, tuple[str, int]]:
        found = self.users[who].put(content)
        assert found == (sha(content), len(content))
        self._know([content])
        return {"put": found}

    def _know(self, contents) -> None:
        for content in contents:
            digest = sha(content)
            known = self.contents.setdefault(digest, content)
            assert known == content
            if digest not in self.whole and self._bytes(digest) == content:
                self.whole.add(digest)

    @rule(who=WHO, key=KEYS, outputs=outputs, reads=st.sets(READS), fact=st.integers(0, 9))
    def keep(self, who: int, key: str, outputs, reads: set[str], fact: int) -> None:
        digests = {read: self.users[who].files.of(self.project / read) for read in sorted(reads)}
        record = Record(
            key,
            outputs,
            {"fact": fact},
            digests,
            {"stage": "s", "params": {}, "files": {}, "inputs": {}, "tools": {}},
        )
        self.users[who].keep(record)
        others = [r for r in self.kept.get(key, []) if r.reads != digests]
        self.kept[key] = [record, *others]

    @invariant()
    def what_is_found_is_the_newest_record_that_holds(self) -> None:
        for key in sorted(self.kept):
            right = [r for r in self.kept[key] if self._holds(r) and self._there(r)]
            for user in self.users:
                assert user.find(key) == (right[0] if right else None)

    @rule(who=WHO, key=KEYS)
    def stale(self, who: int, key: str) -> None:
        records = self.kept.get(key, [])
        changed = {n for r in records for n, d in r.reads.items() if self._now(n) != d}
        found = self.users[who].stale(key)
        assert (found in changed) if changed else found is None

    @rule(who=WHO, outputs=outputs)
    def give(self, who: int, outputs) -> None:
        folder, lost = self.fresh(), ""
        try:
            self.users[who].give(outputs, folder)
        except DamagedError as e:
            lost = e.digest
        if lost:
            assert lost in {digest for digest, _ in outputs.values()} - self.whole
            assert self._size(lost) != len(self.contents[lost])
            return
        for name, (digest, _) in outputs.items():
            assert (folder / name).read_bytes() == self.contents[digest]

    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        self.users[who] = Store(self.root, self.project)

    # --- what befalls its files --------------------------------------------------------

    @rule(read=READS, content=CONTENTS)
    def write(self, read: str, content: bytes) -> None:
        (self.project / read).parent.mkdir(exist_ok=True)
        (self.project / read).write_bytes(content)

    @rule(read=READS)
    def unlink(self, read: str) -> None:
        (self.project / read).unlink(missing_ok=True)

    @precondition(lambda self: self.whole)
    @rule(data=st.data(), how=st.sampled_from(["remove", "shorten", "flip", "lengthen"]))
    def damage(self, data, how: str) -> None:
        digest = data.draw(st.sampled_from(sorted(self.whole)))
        path = self._path(digest)
        content = path.read_bytes()
        changed = {
            "remove": None,
            "shorten": content[:-1],
            "flip": bytes(b ^ 1 for b in content),
            "lengthen": content + b"x",
        }[how]
        if changed == content:
            return
        path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        self.whole.discard(digest)

    @precondition(lambda self: any(self.kept.values()))
    @rule(data=st.data(), part=st.floats(0, 0.99), tail=st.sampled_from([b"", b"{", b"\xff"]))
    def tear(self, data, part: float, tail: bytes) -> None:
        key = data.draw(st.sampled_from(sorted(k for k, found in self.kept.items() if found)))
        path = self.root / "actions" / key[:2] / f"{key}.json"
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * part)] + tail)
        self.kept[key] = []

    # --- what is so --------------------------------------------------------------------

    def _path(self, digest: str) -> Path:
        return self.root / "blobs" / digest[:2] / digest

    def _bytes(self, digest: str) -> bytes | None:
        path = self._path(digest)
        return path.read_bytes() if path.exists() else None

    def _size(self, digest: str) -> int | None:
        path = self._path(digest)
        return path.stat().st_size if path.exists() else None

    def _now(self, read: str) -> str:
        path = self.project / read
        return sha(path.read_bytes()) if path.is_file() else "missing"

    def _holds(self, record: Record) -> bool:
        return all(self._now(read) == digest for read, digest in record.reads.items())

    def _there(self, record: Record) -> bool:
        """Whether all blobs are there, as far as a look without reading them tells."""
        return all(self._size(digest) == size for digest, size in record.outputs.values())


StoreMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
test_the_store_gives_what_it_took_or_says_that_it_cannot = StoreMachine.TestCase
