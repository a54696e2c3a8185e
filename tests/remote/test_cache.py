"""The shared cache, when all is well with it."""

import os
import subprocess
import threading

import pytest

from builder.errors import WorkFailedError
from builder.remote.limits import PART
from builder.remote.transfers import MANY, SMALL
from tests.remote.machines import KEY, RECORD, names, read, some

pytest_plugins = ["tests.stores.ceph"]


def test_a_cold_cache_has_nothing_and_that_is_no_fault(machine, url):
    ours = machine(url)
    assert ours.remote.records([KEY]) == {}
    assert ours.fetch(machine(url).has(b"absent")) == set()
    assert ours.holds_only(set())
    assert ours.remote.alive
    assert not ours.warnings


def test_what_one_machine_pushes_another_fetches(machine, url):
    contents = [b"", b"x", *some(3), *some(2, SMALL + 1)]
    ours, theirs = machine(url), machine(url)
    files = ours.has(*contents)
    assert ours.remote.push(KEY, RECORD, files)
    assert theirs.remote.records([KEY, "cd" * 32]) == {KEY: RECORD}
    assert theirs.fetch(files) == set(files)
    assert theirs.holds_only(files)
    assert not ours.warnings + theirs.warnings


def test_objects_lie_where_other_versions_look_for_them(machine, url):
    ours = machine(url)
    (digest,) = files = ours.has(b"content")
    ours.remote.push(KEY, RECORD, files)
    blob = f"blobs/sha256/{digest[:2]}/{digest}"
    assert names(url) == {blob, f"actions/ab/{KEY}.json"}
    assert read(url, blob) == b"content"


def test_nothing_is_opened_before_it_is_asked(machine, tmp_path):
    ours = machine(f"file://{tmp_path}/shared")
    assert ours.remote.records([]) == {}
    assert not (tmp_path / "shared").exists()


def test_a_blob_of_many_parts_comes_and_goes_whole(machine, url):
    ours, theirs = machine(url), machine(url)
    files = ours.has(os.urandom(9 * PART + 12345))  # 72 MiB
    assert ours.remote.push(KEY, RECORD, files)
    assert theirs.fetch(files) == set(files)
    assert theirs.holds_only(files)


def test_blobs_come_and_go_many_at_once(machine, url):
    ours, theirs = machine(url), machine(url)
    files = ours.has(*some(2 * MANY))
    assert ours.remote.push(KEY, RECORD, files)
    assert theirs.fetch(files) == set(files)
    assert theirs.holds_only(files)


def test_a_read_only_cache_is_read_and_not_written(machine, url):
    ours, theirs = machine(url), machine(url, read_only=True)
    files = ours.has(b"theirs to read")
    assert ours.remote.push(KEY, RECORD, files)
    assert theirs.fetch(files) == set(files)
    before = names(url)
    assert not theirs.remote.push("cd" * 32, RECORD, theirs.has(b"not theirs to write"))
    assert names(url) == before
    assert not theirs.warnings


def test_two_machines_that_push_the_same_do_no_harm(machine, url):
    ours, theirs, reader = machine(url), machine(url), machine(url)
    contents = [*some(20), *some(1, PART + 1)]
    files = ours.has(*contents)
    done, both = [], threading.Barrier(2)

    def push(one):
        here = one.has(*contents)
        both.wait()
        done.append(one.remote.push(KEY, RECORD, here))

    threads = [threading.Thread(target=push, args=(one,)) for one in (ours, theirs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True, True]
    assert reader.remote.records([KEY]) == {KEY: RECORD}
    assert reader.fetch(files) == set(files)
    assert not ours.warnings + theirs.warnings + reader.warnings


def test_calls_of_many_threads_do_not_mix(machine, url):
    ours, theirs = machine(url), machine(url)
    sets = [ours.has(*some(5)) for _ in range(8)]
    keys = [f"{i:02x}" * 32 for i in range(8)]
    came = [None] * 8

    def both_ways(i):
        ours.remote.push(keys[i], keys[i].encode(), sets[i])
        came[i] = (theirs.remote.records([keys[i]]), theirs.fetch(sets[i]))

    threads = [threading.Thread(target=both_ways, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == [({keys[i]: keys[i].encode()}, set(sets[i])) for i in range(8)]


def test_a_full_disk_here_is_no_fault_of_the_store(machine, url, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system takes the right to mount")
    try:
        ours = machine(url)
        files = ours.has(*some(1, 1 << 20))
        ours.remote.push(KEY, RECORD, files)
        sizes = {d: p.stat().st_size for d, p in files.items()}
        with pytest.raises(WorkFailedError, match="the disk is full"):
            ours.remote.fetch(sizes, lambda digest: small / digest)
        assert list(small.iterdir()) == []
        assert ours.remote.alive
        assert not ours.warnings
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
