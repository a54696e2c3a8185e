"""Stores that fail: each ends in completed work or in a clear error, and nothing is lost."""

import asyncio
import os
import threading
import time
from contextlib import suppress

import pytest

from builder.errors import BuilderError, MissingError, WorkFailedError
from builder.release import layout, move, publish, pull, verify
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from builder.remote.bucket import Bucket
from builder.remote.failures import UnusableError
from builder.remote.limits import PART, Limits
from tests.release import commands
from tests.release.trees import files, repository
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.stores.ceph", "tests.stores.azurite"]
pytestmark = pytest.mark.live

QUICK = Limits(connect=0.5, answer=0.8, floor=256 << 20, retries=10)
"""So that a store is given up at once."""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "first"
    small = {f"part{n}": b"%d" % n * 1000 for n in range(20)}
    large = {"weights": os.urandom(3 * PART + 77)}
    repository(folder, {"a": {"1": small | large}, "b": {"1": {"model.onnx": b"b1"}}})
    return folder


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    """Another large file, and a new version of each model."""
    folder = tmp_path_factory.mktemp("built") / "second"
    small = {f"part{n}": b"%d" % n * 1001 for n in range(20)}
    large = {"weights": os.urandom(3 * PART + 78)}
    repository(folder, {"a": {"2": small | large}, "b": {"2": {"model.onnx": b"b2"}}})
    return folder


@pytest.fixture
def address(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket()}/r"


@pytest.fixture
def store(address):
    """The store with nothing in between."""
    return ReleaseStore(address)


@pytest.fixture
def proxy(s3, address):
    with faults.before(s3.port) as proxy:
        yield proxy


@pytest.fixture
def far(proxy, address, monkeypatch):
    """The same store behind the proxy."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    return ReleaseStore(address)


@pytest.fixture
def given_up(far, address):
    """The same, by somebody with no patience."""
    return ReleaseStore(address, limits=QUICK)


def published(store, folder, **options):
    return asyncio.run(publish.publish(folder, store, publish.Options(**options)))


def pulled(store, name, folder, **options):
    return asyncio.run(pull.pull(store, name, folder, pull.Options(**options)))


def right(store, release):
    """Every byte of a release is there."""
    return asyncio.run(verify.in_store(store, release, Trust())).release == release


def releases(store):
    return asyncio.run(store.names())


def at(skip, **options):
    return {"skip": skip, **options}


LATER = [Fault("gone", "PUT", **at(n)) for n in (0, 1, 5, 30)] + [
    Fault("gone", "POST", **at(0)),
    Fault("gone", "/manifests/", **at(1)),
    Fault("hang", "/blobs/"),
    Fault("hang", "/claims/"),
    Fault("hang", "PUT /", **at(3)),
    Fault("hang", "POST"),
    Fault("refuse", "PUT", **at(3)),
    Fault("refuse", "/manifests/"),
    Fault("refuse", "uploads", status=500, code="InternalError"),
    Fault("close", "/blobs/"),
    Fault("close", "PUT", **at(4)),
    Fault("lose", "PUT", **at(10)),
    Fault("spoil", "/blobs/"),
    Fault("refuse", "", status=403, code="InvalidAccessKeyId"),
    Fault("refuse", "", status=400, code="ExpiredToken"),
]


def named(fault):
    return f"{fault.what} {fault.where or 'all'} {fault.skip} {fault.times or ''} {fault.code}"


@pytest.mark.parametrize("fault", LATER, ids=named)
def test_a_publication_that_a_store_fails_is_told_and_done_again(
    store, given_up, proxy, first, fault
):
    fault.met = 0
    proxy.faults = [fault]
    with pytest.raises(MissingError, match="the release store cannot be used") as e:
        published(given_up, first)
    assert e.value.fix
    assert "leaked" not in str(e.value)
    for row in releases(store):  # whatever is called a release is one
        assert right(store, layout.release_of(row.path))
    done = published(store, first)
    assert right(store, done.release)


PASSING = [
    Fault("refuse", "", times=4),
    Fault("refuse", "PUT", times=4),
    Fault("refuse", "POST", times=2),
    Fault("refuse", "/blobs/", **at(3, times=3), status=500, code="InternalError"),
    Fault("close", "/blobs/", times=1),
    Fault("close", "GET", times=1),
    Fault("lose", "/blobs/", times=2),
    Fault("lose", "POST", **at(1, times=1)),
    Fault("lose", "PUT", **at(0, times=1)),
    Fault("lose", "/pending/", times=1),
    Fault("lose", "PUT", **at(24, times=1)),
]


@pytest.mark.parametrize("fault", PASSING, ids=named)
def test_a_publication_gets_over_what_passes(store, far, proxy, first, fault):
    fault.met = 0
    proxy.faults = [fault]
    done = published(far, first)
    assert done.new
    assert right(store, done.release)


@pytest.mark.parametrize(
    "where", ["/claims/", "/manifests/", "/channels/", "/pending/", "uploadId"]
)
def test_an_answer_that_got_lost_is_found_out(store, far, proxy, first, second, where):
    one = published(store, first).release
    asyncio.run(move.promote(store, "prod", one))
    method = "POST" if where == "uploadId" else "PUT"
    proxy.faults = [Lost(method, where)]
    done = published(far, second)
    asyncio.run(move.promote(far, "prod", done.release))
    assert right(store, done.release)
    channel, _ = asyncio.run(store.channel("prod"))
    assert [m.release for m in channel.history] == [one, done.release]


class Lost(Fault):
    """The answer to the first request of a method to a kind of object."""

    def __init__(self, method, part):
        super().__init__("lose", part, times=1)
        self._method = method

    def strikes(self, request):
        return request.startswith(self._method) and super().strikes(request)


@pytest.fixture
def azure_bucket(azure, monkeypatch):
    with faults.before(azure.port) as proxy:
        for name, value in azure.environment(proxy.port).items():
            monkeypatch.setenv(name, value)
        yield Bucket(f"az://{azure.bucket()}/r", QUICK, create=False), proxy


def test_an_answer_of_azure_that_got_lost_is_found_out(azure_bucket):
    bucket, proxy = azure_bucket

    async def both():
        proxy.faults = [Fault("lose", "PUT", times=1)]
        assert await bucket.create("x", b"1")
        assert not await bucket.create("x", b"2")
        before = await bucket.read("x", 100)
        proxy.faults = [Fault("lose", "PUT", times=1)]
        assert await bucket.replace("x", b"3", before.tag)
        assert not await bucket.replace("x", b"4", before.tag)
        proxy.faults = [Fault("lose", "PUT", times=1)]
        assert not await bucket.replace("x", b"5", before.tag)
        proxy.faults = [Fault("lose", "PUT", times=1)]
        assert not await bucket.create("x", b"6")
        assert await bucket.get("x", 100) == b"3"

    asyncio.run(both())


LAST = r"Nothing|it refuses a new object|no answer"


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_what_never_came_to_be_is_no_success(given_up, proxy, status):
    bucket = given_up.bucket

    async def both():
        await bucket.put("x", b"0")
        before = await bucket.read("x", 100)
        proxy.faults = [Fault("refuse", "PUT", status=status, code="Nothing")]
        with pytest.raises(UnusableError, match=LAST):
            await bucket.create("y", b"1")
        with suppress(UnusableError):  # 409 is also what is said when somebody was quicker
            assert not await bucket.replace("x", b"1", before.tag)
        proxy.faults = []
        assert await bucket.get("x", 100) == b"0"
        assert await bucket.get("y", 100) is None

    asyncio.run(both())


def test_what_is_refused_once_is_made_all_the_same(far, proxy):
    proxy.faults = [Fault("refuse", "PUT", times=1, status=409, code="ConditionalRequestConflict")]
    assert asyncio.run(far.bucket.create("y", b"1"))


@pytest.fixture
def both(store, first, second):
    """A store with two releases, and what they were made of."""
    one, two = published(store, first), published(store, second)
    return store, (one.release, first), (two.release, second)


PULLS = [
    *(Fault("gone", "GET", **at(n)) for n in (0, 3, 12)),
    Fault("gone", "/blobs/", **at(23)),
    Fault("refuse", "/blobs/", **at(2)),
    Fault("refuse", "/manifests/", status=500, code="InternalError"),
    Fault("refuse", "", status=403, code="InvalidAccessKeyId"),
    Fault("refuse", "", status=400, code="ExpiredToken"),
    Fault("hang", "/manifests/"),
    Fault("hang", "/blobs/"),
    Fault("hang", "/blobs/", **at(22)),
    Fault("close", "/blobs/"),
    Fault("cut", "/blobs/"),
    Fault("cut", "/manifests/"),
    Fault("flip", "/blobs/"),
    Fault("flip", "/manifests/"),
]


@pytest.mark.parametrize("fault", PULLS, ids=named)
def test_a_pull_that_a_store_fails_leaves_what_was_there(both, given_up, proxy, tmp_path, fault):
    store, (one, first), (two, second) = both
    pod = tmp_path / "pod"
    pulled(store, one, pod)
    fault.met = 0
    proxy.faults = [fault]
    with pytest.raises(BuilderError) as e:
        pulled(given_up, two, pod)
    expected = WorkFailedError if fault.what == "flip" else MissingError
    assert isinstance(e.value, expected), e.value
    assert e.value.fix
    assert "leaked" not in str(e.value)
    assert files(pod) == files(first)
    assert verify.in_folder(pod, Trust()).release == one
    assert pulled(store, two, pod).changed
    assert files(pod) == files(second)


PASSING_PULLS = [
    Fault("refuse", "", times=5),
    Fault("refuse", "/blobs/", **at(5, times=8)),
    Fault("close", "/blobs/", times=2),
    Fault("cut", "/blobs/", times=2),
    Fault("cut", "/blobs/", **at(22, times=2)),
    Fault("flip", "/blobs/", **at(3, times=1)),
    Fault("flip", "/blobs/", **at(22, times=1)),
    Fault("refuse", "/manifests/", times=2, status=500, code="InternalError"),
]


@pytest.mark.parametrize("fault", PASSING_PULLS, ids=named)
def test_a_pull_gets_over_what_passes(store, far, proxy, first, tmp_path, fault):
    release = published(store, first).release
    fault.met = 0
    proxy.faults = [fault]
    assert pulled(far, release, tmp_path / "pod").changed
    assert files(tmp_path / "pod") == files(first)


def test_twenty_milliseconds_away_all_goes_as_it_should(store, far, proxy, first, tmp_path):
    proxy.latency = 0.02
    release = published(far, first, tree=True).release
    asyncio.run(move.promote(far, "prod", release))
    assert pulled(far, "prod", tmp_path / "pod").changed
    assert files(tmp_path / "pod") == files(first)
    assert right(far, release)


def test_a_pull_that_was_cut_off_goes_on_where_it_was(store, far, given_up, proxy, first, tmp_path):
    release = published(store, first).release
    proxy.faults = [Fault("hang", "/blobs/", skip=len(files(first)) + 1)]
    with pytest.raises(MissingError):
        pulled(given_up, release, tmp_path / "pod")
    proxy.faults = []
    proxy.requests.clear()
    came = []
    pulled(far, release, tmp_path / "pod", moved=came.append)
    assert sum(came) == sum(len(c) for n, c in files(first).items() if n != "manifest.json")
    assert len([r for r in proxy.requests if "/blobs/" in r]) < len(files(first)) // 2
    assert files(tmp_path / "pod") == files(first)


def test_a_store_that_is_away_for_seconds_is_waited_for(s3, address, first, second, tmp_path):
    store = ReleaseStore(address)  # with the limits that users have
    release = published(store, first).release

    def away():
        time.sleep(0.1)
        s3.stop()
        time.sleep(1)
        s3.start()

    for work in (
        lambda: pulled(store, release, tmp_path / "pod"),
        lambda: published(store, second),
    ):
        thread = threading.Thread(target=away)
        thread.start()
        work()
        thread.join()
    assert files(tmp_path / "pod") == files(first)
    assert len(releases(store)) == 2


# --- as people and pods see it -------------------------------------------------------------


@pytest.fixture
def project(first, tmp_path):
    """A project whose repository is the first one."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text(
        '[tool.triton-builder]\ndefault-target = "cpu"\n'
        '[tool.triton-builder.targets.cpu]\ntriton = "24.10"\ndevice = "cpu"\n'
    )
    (root / "repository").mkdir()
    (root / "repository" / "cpu").symlink_to(first)
    return root


def every(project, tmp_path, url, env):
    """What each command says when it fails for want of its store."""
    started = [
        commands.start(*arguments, "--store", url, env=env)
        for arguments in (
            ("-C", project, "publish", "--channel", "prod"),
            ("pull", "prod", tmp_path / "pod"),
            ("promote", "0" * 64, "prod"),
            ("rollback", "prod"),
            ("releases",),
            ("verify", "prod"),
            ("gc", "--releases"),
        )
    ]
    return [commands.failed(3, one, timeout=60) for one in started]


def test_wrong_credentials(s3, address, project, tmp_path):
    for said in every(project, tmp_path, address, {"AWS_SECRET_ACCESS_KEY": "wrong-and-secret"}):
        assert "refuses the credentials" in said
        assert "AWS_ACCESS_KEY_ID" in said
        assert "wrong-and-secret" not in said


def test_no_credentials(address, project, tmp_path):
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    for said in every(project, tmp_path, address, none):
        assert "credentials" in said


def test_a_bucket_that_is_not_there(address, project, tmp_path):
    for said in every(project, tmp_path, "s3://not-there/r", {}):
        assert "no such bucket" in said
        assert "make the bucket" in said


def test_a_container_of_azure_that_is_not_there(azure, project, tmp_path):
    for said in every(project, tmp_path, "az://not-there/r", azure.environment()):
        assert "no such bucket" in said


def test_wrong_credentials_of_azure(azure, project, tmp_path):
    wrong = {"AZURE_STORAGE_ACCOUNT_KEY": "d3JvbmctYW5kLXNlY3JldA=="}
    url = f"az://{azure.bucket()}/r"
    for said in every(project, tmp_path, url, azure.environment() | wrong):
        assert "refuses the credentials" in said
        assert "d3JvbmctYW5kLXNlY3JldA" not in said


def test_an_endpoint_that_is_no_store(address, project, tmp_path):
    for said in every(project, tmp_path, address, {"AWS_ENDPOINT_URL": "ftp://127.0.0.1"}):
        assert "cannot be used" in said
    for said in every(project, tmp_path, address, {"AWS_ALLOW_HTTP": "false"}):
        assert "AWS_ALLOW_HTTP" in said


@pytest.mark.campaign
@pytest.mark.parametrize("what", ["gone", "hang", "refuse", "close"])
def test_a_dead_store_of_any_kind_is_told(address, proxy, project, tmp_path, what):
    proxy.faults = [Fault(what)]
    for said in every(project, tmp_path, address, {"AWS_ENDPOINT_URL": proxy.endpoint}):
        assert "AWS_ENDPOINT_URL" in said or "wait" in said
