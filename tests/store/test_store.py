"""The store gives back what it took, or says that it cannot."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.files import sha256
from builder.plan.evaluate import Last, Record
from builder.store.blobs import DamagedError
from builder.store.digests import FileDigests, cache_folder, code
from builder.store.gc import Limits, collect
from builder.store.store import Store
from tests import debian

INGREDIENTS = {"stage": "s", "params": {}, "files": {}, "inputs": {}, "tools": {}}


@pytest.fixture
def store(tmp_path):
    (tmp_path / "project").mkdir()
    return Store(tmp_path / "store", tmp_path / "project")


def taken(store, files):
    with store.scratch() as folder:
        for name, content in files.items():
            path = folder / "out" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return store.take(folder / "out")


def record(outputs, reads=None):
    return Record("k" * 64, outputs, {}, reads or {}, INGREDIENTS)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary()))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_goes_in_comes_out(store, tmp_path, files):
    files = {n: c for n, c in files.items() if not any(o.startswith(n + "/") for o in files)}
    outputs = taken(store, files)
    with store.scratch() as folder:
        store.give(outputs, folder)
        found = {n: (folder / n).read_bytes() for n in outputs}
    assert found == files
    assert {n: size for n, (_, size) in outputs.items()} == {n: len(c) for n, c in files.items()}


def test_equal_content_is_kept_once(store):
    outputs = taken(store, {"a": b"same", "b": b"same"})
    assert outputs["a"] == outputs["b"]
    assert len([p for p in (store.root / "blobs").rglob("*") if p.is_file()]) == 1


def test_what_is_given_takes_no_second_room(store, tmp_path):
    outputs = taken(store, {"a": b"content"})
    store.give(outputs, tmp_path / "there")
    there = (tmp_path / "there" / "a").stat()
    assert there.st_ino == store.blobs.path(outputs["a"][0]).stat().st_ino
    assert there.st_mode & 0o222 == 0


def test_a_corrupt_blob_is_dropped(store, tmp_path):
    outputs = taken(store, {"a": b"content"})
    blob = store.blobs.path(outputs["a"][0])
    blob.chmod(0o644)
    blob.write_bytes(b"tampered")
    with pytest.raises(DamagedError):
        store.give(outputs, tmp_path / "there")
    assert not blob.exists()


def test_a_record_is_found_by_its_key(store):
    kept = record(taken(store, {"a": b"1"}))
    store.keep(kept)
    assert store.find(kept.key) == kept
    assert store.find("other") is None
    store.history.note("action", kept.key)
    assert store.last("action") == Last(kept.key, kept)


def test_a_record_whose_blob_is_gone_is_no_hit(store):
    kept = record(taken(store, {"a": b"1"}))
    store.keep(kept)
    store.blobs.path(kept.outputs["a"][0]).unlink()
    assert store.find(kept.key) is None


def test_a_record_holds_only_while_its_reads_do(store):
    path = store.project / "vocabulary.txt"
    path.write_text("one")
    kept = record(taken(store, {"a": b"1"}), {"vocabulary.txt": sha256(path)})
    store.keep(kept)
    assert store.find(kept.key) == kept
    path.write_text("two")
    assert store.find(kept.key) is None
    assert store.stale(kept.key) == "vocabulary.txt"
    other = record(taken(store, {"a": b"2"}), {"vocabulary.txt": sha256(path)})
    store.keep(other)
    assert store.find(kept.key) == other
    path.write_text("one")
    assert store.find(kept.key) == kept


def test_a_torn_record_is_no_record(store):
    kept = record(taken(store, {"a": b"1"}))
    store.keep(kept)
    (file,) = (store.root / "actions").rglob("*.json")
    file.write_bytes(file.read_bytes()[:-20])
    assert store.find(kept.key) is None


def test_scratch_of_dead_processes_is_swept(store):
    left = store.root / "tmp" / "999999999-dead"
    left.mkdir(parents=True)
    (left / ".lock").touch()
    with store.scratch() as mine:
        store.sweep()
        assert mine.exists()
    assert not left.exists()
    assert not mine.exists()


@pytest.fixture
def fuse(tmp_path):
    """A file system that cannot remove what is open: it gets another name, as on NFS."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("a file system of our own needs root, and FUSE")
    debian.provide(["bindfs"], ["bindfs"])
    place = tmp_path / "fuse"
    place.mkdir()
    (tmp_path / "behind").mkdir()
    debian.run("bindfs", str(tmp_path / "behind"), str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_leases_leave_nothing_where_open_files_cannot_be_removed(fuse, tmp_path):
    store = Store(fuse / "store", tmp_path)
    taken(store, {"a": b"content"})
    left = store.root / "tmp" / "999999999-dead"
    left.mkdir(parents=True)
    (left / ".lock").touch()
    store.sweep()
    assert list((store.root / "tmp").iterdir()) == []


def test_the_gate_is_shut_by_one_who_may_write(store):
    """NFS gives a lock for one alone to nobody else (flock(2))."""
    with store.leases.shut():
        handles = [int(p.name) for p in Path("/proc/self/fd").iterdir()]
        gates = [n for n in handles if _leads_to(n, store.leases.gate)]
        modes = [fcntl.fcntl(n, fcntl.F_GETFL) & os.O_ACCMODE for n in gates]
    assert modes == [os.O_RDWR]


def _leads_to(handle, file):
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except OSError:  # the one that lists them
        return False


def test_a_large_file_is_hashed_again_when_it_changed_behind_its_time_stamp(tmp_path):
    path, index = tmp_path / "large", tmp_path / "index.json"
    path.write_bytes(bytes(1 << 20))
    os.utime(path, (1, 1))
    digests = FileDigests(index)
    first = digests.of(path)
    digests.save()
    path.write_bytes(b"\1" * (1 << 20))
    os.utime(path, (1, 1))
    assert FileDigests(index).of(path) == sha256(path) != first


def test_a_large_file_that_did_not_change_is_not_read(tmp_path):
    path, index = tmp_path / "large", tmp_path / "index.json"
    path.write_bytes(bytes(1 << 20))
    os.utime(path, (1, 1))
    digests = FileDigests(index)
    digests.of(path)
    digests.save()
    known = FileDigests(index)
    path.chmod(0o000)
    assert known.of(path) != "missing" or os.geteuid() == 0


def test_the_code_of_a_stage_includes_what_it_imports():
    assert code("builder.stages.python") != code("builder.stages.config")
    assert code("builder.stages.no_such_stage") == code("builder.stages.nor_this_one")


@pytest.mark.parametrize("what", ["a folder", "a link to nowhere", "a link to its like"])
def test_what_is_no_file_is_no_blob(store, tmp_path, what):
    outputs = taken(store, {"a": b"content"})
    blob = store.blobs.path(outputs["a"][0])
    blob.rename(tmp_path / "moved")
    if what == "a folder":
        (blob / "inside").mkdir(parents=True)
    else:
        blob.symlink_to(tmp_path / ("moved" if what == "a link to its like" else "nowhere"))
    with pytest.raises(DamagedError):
        store.give(outputs, tmp_path / "there")
    assert not blob.exists()
    assert taken(store, {"a": b"content"}) == outputs
    store.give(outputs, tmp_path / "there")
    assert (tmp_path / "there" / "a").read_bytes() == b"content"


@pytest.mark.parametrize("torn", ["[]", "{}", "[1]", '[{"key": "k"}]', '{"a": 1}', "null", "\x00"])
def test_files_of_the_store_that_are_none_are_passed_over(store, torn):
    kept = record(taken(store, {"a": b"1"}))
    store.keep(kept)
    store.history.note("action", kept.key)
    store.history.save()
    store.roots.hold(store.project, [kept.key], partial=False)
    files = [
        p for part in ("actions", "last", "roots") for p in (store.root / part).rglob("*.json")
    ]
    for path in [*files, store.root / "index.json"]:
        path.write_text(torn)
    (store.root / "tmp").mkdir(exist_ok=True)
    (store.root / "tmp" / "stray").write_text("stray")
    again = Store(store.root, store.project)
    assert again.find(kept.key) is None
    assert again.last("action") in (None, Last(kept.key, None))
    assert list(again.roots) == []
    again.sweep()
    collect(again, Limits(age=0))


def test_a_pipe_in_a_file_s_place_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert FileDigests(tmp_path / "index.json").of(tmp_path / "pipe") == "missing"


@pytest.mark.parametrize("variable", ["TRITON_BUILDER_CACHE", "XDG_CACHE_HOME", "HOME"])
def test_the_cache_does_not_move_with_the_working_directory(monkeypatch, variable):
    for name in ("TRITON_BUILDER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "somewhere")
    assert cache_folder().is_absolute()
