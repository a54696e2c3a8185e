"""The shared cache helps, or says once that it does not; it never harms."""

import pytest

from builder.remote.limits import PART, Limits
from builder.remote.transfers import MANY, record_path
from tests.remote.machines import KEY, RECORD, SHORT, is_left_out, names, replace, some
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.stores.ceph"]


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
