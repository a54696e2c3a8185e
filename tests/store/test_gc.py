"""Garbage goes, the longest unused first; what somebody needs stays."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from builder.files import remove_tree
from builder.flow.build import Options, build
from builder.flow.context import context
from builder.plan.action import digest
from builder.plan.evaluate import Record
from builder.store.gc import Limits, collect
from builder.store.store import Store
from tests.projects import echo

DAY = 86400


@pytest.fixture
def store(tmp_path):
    (tmp_path / "project").mkdir()
    return Store(tmp_path / "store", tmp_path / "project")


def kept(store, name, content, days=0.0):
    """A result with one file, last used so many days ago; gives its key."""
    ingredients = {"stage": name, "params": {}, "files": {}, "inputs": {}, "tools": {}}
    record = Record(digest(ingredients), {"file": store.put(content)}, {}, {}, ingredients)
    store.keep(record)
    when = time.time() - days * DAY
    for path in (store.records.path(record.key), store.blobs.path(record.outputs["file"][0])):
        os.utime(path, (when, when))
    return record.key


def test_what_was_not_used_for_long_goes(store):
    old, new = kept(store, "old", b"old", days=40), kept(store, "new", b"new", days=1)
    found = collect(store, Limits(age=30 * DAY))
    assert (found.records, found.blobs, found.bytes, found.left) == (1, 1, 3, 3)
    assert store.find(old) is None
    assert store.find(new)


def test_the_longest_unused_go_until_the_rest_fits(store):
    keys = [kept(store, f"r{n}", bytes([n]) * 1000, days=10 - n) for n in range(5)]
    collect(store, Limits(size=2500))
    assert [store.find(key) is not None for key in keys] == [False, False, False, True, True]


def test_a_result_that_was_used_again_is_young(store):
    one, two = kept(store, "one", b"1", days=40), kept(store, "two", b"2", days=35)
    assert store.find(one)
    collect(store, Limits(age=30 * DAY))
    assert store.find(one)
    assert store.find(two) is None


def test_a_blob_that_another_result_needs_stays(store):
    old, new = kept(store, "old", b"same", days=40), kept(store, "new", b"same", days=1)
    found = collect(store, Limits(age=30 * DAY))
    assert (found.records, found.blobs) == (1, 0)
    assert store.find(old) is None
    assert store.find(new)


def test_blobs_that_nothing_refers_to_go_without_any_limit(store):
    key = kept(store, "kept", b"kept", days=40)
    stray, _ = store.put(b"stray")
    os.utime(store.blobs.path(stray), (1, 1))
    found = collect(store, Limits())
    assert (found.records, found.blobs) == (0, 1)
    assert not store.blobs.path(stray).exists()
    assert store.find(key)


def test_a_dry_run_drops_nothing_and_says_the_same(store):
    key = kept(store, "old", b"old", days=40)
    told = collect(store, Limits(age=30 * DAY), dry=True)
    assert store.records.path(key).exists()
    assert told == collect(store, Limits(age=30 * DAY))
    assert told.records == 1


def aged(store):
    """Makes everything in a store look unused for a year."""
    for path in [p for part in ("blobs", "actions") for p in (store.root / part).rglob("*")]:
        os.utime(path, (1, 1))


def test_what_a_repository_stands_for_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    for name in ("mine", "gone"):
        (tmp_path / name).mkdir()
        echo(tmp_path / name, f"echo_{name}")
        build(context(tmp_path / name, None), Options(jobs=1, validate=False))
    remove_tree(tmp_path / "gone" / "repository")
    here = context(tmp_path / "mine", None)
    aged(here.store)
    assert collect(here.store, Limits(size=0, age=0)).records > 0
    again = build(context(tmp_path / "mine", None), Options(jobs=1, validate=False))
    assert again.ran == ()
    other = build(context(tmp_path / "gone", None), Options(jobs=1, validate=False))
    assert set(other.ran) == {"python echo_gone", "reference echo_gone", "config echo_gone"}


BUILDING = """
    import os, sys, time
    from pathlib import Path
    from builder.store.store import Store
    store = Store(Path(sys.argv[1]), Path(sys.argv[2]))
    with store.leases.take():
        assert store.find(sys.argv[3])
        print("in use", flush=True)
        sys.stdin.read()
        assert store.find(sys.argv[3])
"""


def test_what_a_running_build_uses_stays(store):
    used, other = kept(store, "used", b"used", days=40), kept(store, "other", b"o", days=40)
    arguments = [str(store.root), str(store.project), used]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BUILDING), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "in use\n"
    collect(store, Limits(size=0, age=0))
    assert store.records.path(used).exists()
    assert not store.records.path(other).exists()
    process.communicate("")
    assert process.returncode == 0
    assert collect(store, Limits(size=0, age=0)).records == 1


def test_a_killed_build_keeps_nothing_alive(store):
    key = kept(store, "used", b"used", days=40)
    code = textwrap.dedent(BUILDING)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(store.root), str(store.project), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.kill()
    process.communicate()
    time.sleep(0.05)  # the clock of files ticks every few ms: what was used in this tick stays
    collect(store, Limits(size=0, age=0))
    assert not store.records.path(key).exists()
    assert list((store.root / "tmp").iterdir()) == []
