"""Stores, and fetches from them, that end in the middle."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from builder.remote.limits import PART, WIDTH
from builder.remote.transfers import MANY, record_path
from tests.remote.machines import KEY, LONG, MIDDLE, RECORD, is_left_out, names, some
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.stores.ceph"]


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


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
