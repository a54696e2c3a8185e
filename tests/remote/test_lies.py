"""Objects that are not what their names say are not taken, and replaced."""

import pytest

from builder.remote.limits import PART
from builder.remote.transfers import blob_path, record_path
from tests.remote.machines import KEY, RECORD, names, read, replace, some

pytest_plugins = ["tests.stores.ceph"]


def other_bytes(content):
    return bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("size", [1000, 2 * PART + 7], ids=["small", "of parts"])
@pytest.mark.parametrize(
    "harm", [other_bytes, lambda c: c[:-1], lambda c: c[:10], lambda c: b""],
    ids=["other bytes", "a byte short", "a start", "empty"],
)  # fmt: skip
def test_a_corrupt_object_is_not_taken_told_once_and_replaced(machine, url, harm, size):
    ours, theirs = machine(url), machine(url)
    bad, *good = some(3, size)
    files = ours.has(bad, *good)
    ours.remote.push(KEY, RECORD, files)
    (digest,) = set(files) - set(ours.has(*good))
    replace(url, blob_path(digest), harm(bad))

    assert theirs.fetch(files) == set(files) - {digest}
    assert theirs.fetch({digest: files[digest]}) == set()
    assert theirs.holds_only(set(files) - {digest})
    assert theirs.remote.alive
    (warning,) = theirs.warnings
    assert blob_path(digest) in warning

    assert theirs.remote.push(KEY, RECORD, ours.has(bad))
    assert read(url, blob_path(digest)) == bad
    assert theirs.fetch({digest: files[digest]}) == {digest}


def test_what_comes_with_more_bytes_at_its_end_is_taken_without_them(machine, url):
    ours, theirs = machine(url), machine(url)
    (digest,) = files = ours.has(b"content")
    replace(url, blob_path(digest), b"content and more")
    assert theirs.fetch(files) == {digest}
    assert theirs.holds_only({digest})


def test_an_object_of_another_size_is_replaced_by_whoever_pushes(machine, url):
    ours = machine(url)
    (digest,) = files = ours.has(b"content")
    replace(url, blob_path(digest), b"cont")
    assert ours.remote.push(KEY, RECORD, files)
    assert read(url, blob_path(digest)) == b"content"


def test_an_endless_record_is_no_record(machine, url):
    replace(url, record_path(KEY), bytes((16 << 20) + 1))
    ours = machine(url)
    assert ours.remote.records([KEY]) == {}
    assert ours.remote.alive


@pytest.mark.parametrize("size", [1000, 2 * PART], ids=["small", "of parts"])
def test_a_local_file_that_is_not_what_its_name_says_goes_nowhere(machine, url, size):
    ours = machine(url)
    (content,) = some(1, size)
    (digest,) = files = ours.has(content)
    files[digest].write_bytes(other_bytes(content))
    assert not ours.remote.push(KEY, RECORD, files)
    assert names(url) == set()
    assert ours.remote.alive


def test_a_local_file_that_has_gone_goes_nowhere(machine, url):
    ours = machine(url)
    (digest,) = files = ours.has(b"content")
    files[digest].unlink()
    assert not ours.remote.push(KEY, RECORD, files)
    assert names(url) == set()
