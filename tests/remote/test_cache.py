"""The shared cache helps, or says once that it does not; it never harms."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from builder.errors import InputError, WorkFailedError
from builder.remote.cache import Remote, check_url
from builder.remote.limits import PART, WIDTH, Limits
from builder.remote.transfers import MANY, SMALL, blob_path, record_path
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.stores.ceph"]

KEY = "ab" * 32
RECORD = b'[{"a": "record"}]'
SHORT = Limits(connect=1, answer=1, floor=64 << 20)
MIDDLE = Limits(answer=3)
LONG = Limits(connect=600, answer=600)
"""With these, only an end that is not the clock's ends a test."""


class Machine:
    """A machine with a local cache and the shared one."""

    def __init__(self, folder, url, **options):
        self.folder = folder
        self.folder.mkdir()
        self.warnings = []
        options = {"read_only": False, **options}
        self.remote = Remote(url, warn=self.warnings.append, **options)

    def place(self, digest):
        return self.folder / digest[:2] / digest

    def has(self, *contents):
        """Puts blobs into the local cache; gives their files by digest."""
        files = {}
        for content in contents:
            digest = hashlib.sha256(content).hexdigest()
            files[digest] = self.place(digest)
            files[digest].parent.mkdir(exist_ok=True)
            files[digest].write_bytes(content)
        return files

    def fetch(self, files):
        return self.remote.fetch({d: p.stat().st_size for d, p in files.items()}, self.place)

    def holds_only(self, arrived):
        """Nothing lies there but these blobs, whole and read-only: no temporary file, no part."""
        files = [p for p in self.folder.rglob("*") if not p.is_dir()]
        for path in files:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
        return {p.name for p in files} == set(arrived)


@pytest.fixture
def machine(tmp_path):
    """Makes machines; closes what they opened."""
    machines = []

    def make(url, **options):
        machines.append(Machine(tmp_path / f"machine-{len(machines)}", url, **options))
        return machines[-1]

    yield make
    for one in machines:
        one.remote.close()


@pytest.fixture
def s3_url(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket()}/some/prefix"


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.live)])
def url(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3_url")
    return f"file://{tmp_path}/shared"


@pytest.fixture
def proxy(s3, s3_url, monkeypatch):
    with faults.before(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def at(url):
    """The store itself, for looking and for doing harm."""
    from obstore.store import from_url

    options = {"client_options": {"allow_http": True}} if url.startswith("s3") else {"mkdir": True}
    return from_url(url, **options)


def replace(url, path, content):
    import obstore

    obstore.put(at(url), path, content)


def read(url, path):
    import obstore

    return bytes(obstore.get(at(url), path).bytes())


def names(url):
    import obstore

    return {row["path"] for batch in obstore.list(at(url)) for row in batch}


def some(count, size=1000):
    return [os.urandom(size) for _ in range(count)]


# --- what it does when all is well ---------------------------------------------------------


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


# --- objects that lie ----------------------------------------------------------------------


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


# --- stores that fail ----------------------------------------------------------------------


def is_left_out(one, *words):
    """It was given up with one warning of these words, and returns empty from now on."""
    assert not one.remote.alive
    (warning,) = one.warnings
    for word in words:
        assert word in warning
    assert one.remote.records([KEY]) == {}
    assert one.remote.fetch({"00" * 32: 3}, one.place) == set()
    assert not one.remote.push(KEY, RECORD, {})
    assert len(one.warnings) == 1
    return True


def test_a_folder_that_cannot_be_made_is_left_out(machine, tmp_path):
    (tmp_path / "file").write_text("in the way")
    ours = machine(f"file://{tmp_path}/file/shared")
    assert ours.remote.records([KEY]) == {}
    assert is_left_out(ours, str(tmp_path))


def test_a_folder_is_not_made_only_to_be_read(machine, tmp_path):
    ours = machine(f"file://{tmp_path}/shared", read_only=True)
    assert ours.remote.records([KEY]) == {}
    assert is_left_out(ours, str(tmp_path))
    assert not (tmp_path / "shared").exists()


@pytest.mark.live
def test_a_store_that_nobody_runs_is_left_out(machine, s3, s3_url, monkeypatch):
    with faults.before(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    ours = machine(s3_url)
    assert ours.remote.records([KEY]) == {}
    assert is_left_out(ours, "cannot be reached", "refused", "AWS_ENDPOINT_URL")


@pytest.mark.live
@pytest.mark.parametrize(
    ("variable", "code"),
    [
        ("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "InvalidAccessKeyId"),
    ],
)
def test_wrong_credentials_are_told_and_not_shown(machine, s3_url, monkeypatch, variable, code):
    monkeypatch.setenv(variable, "not-to-be-seen")
    ours = machine(s3_url)
    assert ours.remote.records([KEY]) == {}
    assert is_left_out(ours, s3_url, "credentials", code, "AWS_SECRET_ACCESS_KEY")
    assert "not-to-be-seen" not in ours.warnings[0]


@pytest.mark.live
def test_an_expired_token_is_told_and_not_shown(machine, proxy, s3_url):
    proxy.faults = [Fault("refuse", status=400, code="ExpiredToken")]
    ours = machine(s3_url)
    assert ours.remote.records([KEY]) == {}
    assert is_left_out(ours, "expired", "ExpiredToken", "fresh")
    assert "leaked" not in ours.warnings[0]


@pytest.mark.live
def test_a_bucket_that_is_not_there_is_told(machine, s3_url):
    missing = f"{s3_url.removesuffix('/some/prefix')}-not/prefix"
    reader, writer = machine(missing), machine(missing)
    assert reader.remote.records([KEY]) == {}
    assert is_left_out(reader, missing, "NoSuchBucket", "make the bucket")
    assert not writer.remote.push(KEY, RECORD, writer.has(b"content"))
    assert is_left_out(writer, missing, "bucket")


@pytest.mark.live
def test_a_place_that_takes_no_objects_is_told(machine, proxy, s3_url):
    ours = machine(s3_url)
    proxy.faults = [Fault("refuse", "PUT", status=404, code="NoSuchPlace")]
    assert not ours.remote.push(KEY, RECORD, ours.has(b"content"))
    assert is_left_out(ours, "no such bucket")


@pytest.mark.live
def test_an_endpoint_without_tls_must_be_meant(machine, s3_url, monkeypatch):
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    ours = machine(s3_url)
    assert ours.remote.records([KEY]) == {}
    assert is_left_out(ours, "https", "AWS_ALLOW_HTTP=true")


@pytest.mark.live
def test_a_short_storm_of_refusals_is_sat_out(machine, proxy, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url)
    files = ours.has(*some(5))
    proxy.faults = [Fault("refuse", "PUT", times=3), Fault("refuse", "GET", times=3)]
    assert ours.remote.push(KEY, RECORD, files)
    assert theirs.remote.records([KEY]) == {KEY: RECORD}
    assert theirs.fetch(files) == set(files)
    assert not ours.warnings + theirs.warnings


@pytest.mark.live
@pytest.mark.parametrize("what", ["refuse", "close", "hang", "cut"])
@pytest.mark.parametrize("size", [1000, 2 * PART], ids=["small", "of parts"])
def test_a_store_that_fails_for_good_is_left_out(machine, proxy, s3_url, what, size):
    ours, theirs = machine(s3_url), machine(s3_url, limits=SHORT)
    files = ours.has(*some(3, size))
    ours.remote.push(KEY, RECORD, files)
    proxy.faults = [Fault(what, "GET")]
    assert theirs.fetch(files) == set()
    assert theirs.holds_only(set())
    assert is_left_out(theirs, s3_url)


@pytest.mark.live
@pytest.mark.parametrize("what", ["refuse", "close", "hang"])
@pytest.mark.parametrize("size", [1000, 2 * PART], ids=["small", "of parts"])
def test_a_store_that_takes_nothing_is_left_out(machine, proxy, s3_url, what, size):
    ours = machine(s3_url, limits=SHORT)
    proxy.faults = [Fault(what, "PUT")]
    assert not ours.remote.push(KEY, RECORD, ours.has(*some(3, size)))
    assert is_left_out(ours, s3_url)
    proxy.faults = []
    assert names(s3_url) == set()


@pytest.mark.live
def test_bytes_that_change_on_the_way_are_not_taken(machine, proxy, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url)
    files = ours.has(*some(10))
    ours.remote.push(KEY, RECORD, files)
    digest = min(files)
    proxy.faults = [Fault("flip", digest)]
    assert theirs.fetch(files) == set(files) - {digest}
    assert theirs.holds_only(set(files) - {digest})
    (warning,) = theirs.warnings
    assert digest in warning
    assert theirs.remote.alive


@pytest.mark.live
def test_a_store_slower_than_building_is_left_out(machine, proxy, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url, limits=SHORT)
    files = ours.has(*some(2, PART))
    ours.remote.push(KEY, RECORD, files)
    proxy.rate = 200_000  # a byte always comes in time, and all of them would take a minute
    assert theirs.fetch(files) == set()
    assert theirs.holds_only(set())
    assert is_left_out(theirs, "no answer within")


@pytest.mark.live
def test_a_store_that_takes_in_slowly_is_left_out(machine, proxy, s3_url):
    ours = machine(s3_url, limits=Limits(answer=1, floor=64 << 20))
    proxy.rate = 200_000
    assert not ours.remote.push(KEY, RECORD, ours.has(*some(1, 3 * PART)))
    assert is_left_out(ours, "no answer within")


@pytest.mark.live
def test_a_far_store_serves_all_the_same(machine, proxy, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url)
    proxy.latency = 0.02
    files = ours.has(*some(MANY))
    keys = [f"{i:02x}" * 32 for i in range(100)]
    assert ours.remote.push(keys[0], RECORD, files)
    for key in keys[1:]:
        replace(s3_url, record_path(key), RECORD)
    assert theirs.remote.records(keys) == dict.fromkeys(keys, RECORD)
    assert theirs.fetch(files) == set(files)
    assert not ours.warnings + theirs.warnings


# --- gone in the middle --------------------------------------------------------------------


@pytest.mark.live
def test_a_store_gone_in_the_middle_of_a_fetch_leaves_what_came(machine, proxy, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url, limits=MIDDLE)
    files = ours.has(*some(3 * MANY))
    ours.remote.push(KEY, RECORD, files)
    proxy.faults = [Fault("gone", "GET", skip=2 * MANY)]
    arrived = theirs.fetch(files)
    assert 0 < len(arrived) < len(files)
    assert theirs.holds_only(arrived)
    assert is_left_out(theirs, s3_url)


@pytest.mark.live
def test_a_server_killed_in_the_middle_of_a_large_fetch_leaves_nothing(machine, proxy, s3, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url, limits=MIDDLE)
    files = ours.has(*some(1, 2 * WIDTH * PART))  # half of them not asked for yet
    ours.remote.push(KEY, RECORD, files)
    proxy.rate = 80e6
    came = []
    thread = threading.Thread(target=lambda: came.append(theirs.fetch(files)))
    thread.start()
    try:
        until(lambda: any(p.is_file() and p.stat().st_size for p in theirs.folder.rglob(".*")))
        s3.stop()
        thread.join()
    finally:
        s3.start()
    assert came == [set()]
    assert theirs.holds_only(set())
    assert is_left_out(theirs, s3_url)


@pytest.mark.live
@pytest.mark.parametrize(("count", "size"), [(3 * MANY, 1000), (1, 6 * PART)])
def test_a_store_gone_in_the_middle_of_a_push_has_no_record(machine, s3, s3_url, count, size):
    with faults.before(s3.port) as proxy, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        ours = machine(s3_url, limits=MIDDLE)
        files = ours.has(*some(count, size))
        proxy.faults = [Fault("gone", "PUT", skip=min(count, 4) + 1)]
        assert not ours.remote.push(KEY, RECORD, files)
        assert is_left_out(ours, s3_url)

    assert record_path(KEY) not in names(s3_url)
    theirs = machine(s3_url)
    arrived = theirs.fetch(files)
    assert arrived < set(files)
    assert theirs.holds_only(arrived)
    assert machine(s3_url).remote.push(KEY, RECORD, files)  # the next one mends it
    assert machine(s3_url).fetch(files) == set(files)


@pytest.mark.live
def test_who_finds_the_store_dead_tells_all_threads(machine, proxy, s3_url):
    ours = machine(s3_url, limits=LONG)
    (digest,) = files = ours.has(*some(1))
    ours.remote.push(KEY, RECORD, files)
    theirs = machine(s3_url, limits=LONG)
    proxy.faults = [
        Fault("hang", digest),
        Fault("refuse", "actions", status=403, code="AccessDenied"),
    ]
    came = []
    thread = threading.Thread(target=lambda: came.append(theirs.fetch(files)))
    thread.start()
    until(lambda: any(r.startswith("GET") and digest in r for r in proxy.requests))
    assert theirs.remote.records([KEY]) == {}
    thread.join()
    assert came == [set()]
    assert theirs.holds_only(set())
    assert is_left_out(theirs, "AccessDenied")


@pytest.mark.live
def test_closing_ends_what_is_running(machine, proxy, s3_url):
    ours, theirs = machine(s3_url), machine(s3_url, limits=LONG)
    files = ours.has(*some(1))
    ours.remote.push(KEY, RECORD, files)
    proxy.faults = [Fault("hang", "GET")]
    came = []
    thread = threading.Thread(target=lambda: came.append(theirs.fetch(files)))
    thread.start()
    until(lambda: any(r.startswith("GET") for r in proxy.requests))
    theirs.remote.close()
    thread.join()
    assert came == [set()]
    assert theirs.holds_only(set())
    assert not theirs.warnings
    theirs.remote.close()
    assert not theirs.remote.alive
    assert theirs.remote.records([KEY]) == {}


FETCH = """
import sys
from pathlib import Path
from builder.remote.limits import Limits
from builder.remote.cache import Remote
url, folder, digest = sys.argv[1:]
remote = Remote(url, read_only=True, warn=print, limits=Limits(connect=600, answer=600))
try:
    remote.fetch({digest: 1000}, lambda digest: Path(folder) / digest)
except KeyboardInterrupt:
    print("interrupted", sorted(p.name for p in Path(folder).iterdir()))
finally:
    remote.close()
"""


@pytest.mark.live
def test_an_interrupt_ends_a_fetch_that_hangs(machine, proxy, s3_url, tmp_path):
    ours = machine(s3_url)
    (digest,) = files = ours.has(*some(1))
    ours.remote.push(KEY, RECORD, files)
    proxy.faults = [Fault("hang", "GET")]
    (tmp_path / "place").mkdir()
    command = [sys.executable, "-c", FETCH, s3_url, str(tmp_path / "place"), digest]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until(lambda: any(r.startswith("GET") for r in proxy.requests))
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (out, err, child.returncode) == ("interrupted []\n", "", 0)


# --- this machine --------------------------------------------------------------------------


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


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/a/prefix",
        "gs://bucket/prefix",
        "az://container/prefix",
        "abfss://container@account.dfs.core.windows.net/prefix",
        "file:///a/folder",
        "memory:///",
    ],
)
def test_an_address_of_a_known_store_is_right(url):
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:secret@bucket/prefix",
        "s3://secret@bucket/prefix",
        "s3://bucket/prefix?X-Amz-Signature=secret",
        "az://container/prefix?sig=secret",
        "abfss://container:secret@account.dfs.core.windows.net/prefix",
        "s3://bucket/prefix#secret",
        "ftp://user:secret@host/x",
        "s3://[secret",
        "s3://",
        "s3:///prefix",
        "https://bucket.example/prefix",
        "bucket/prefix",
        "/a/folder",
        "file://host/folder",
        "file:folder",
        "",
    ],
)
def test_an_address_that_is_wrong_is_told_without_its_secret(url):
    with pytest.raises(InputError) as error:
        check_url(url)
    assert "secret" not in str(error.value)
    assert error.value.expected
