"""What releases need of a store, and stores that are like no other."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from builder.errors import MissingError, WorkFailedError
from builder.release import claims, collect, layout, move, publish, pull, verify
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from tests.release.trees import files, repository
from tests.stores import plain

NOW = timedelta(0)


def built(folder, **contents):
    repository(folder, {m: {"1": {"f": content}} for m, content in contents.items()})
    return folder


def published(store, folder):
    return asyncio.run(publish.publish(folder, store, publish.Options())).release


def promoted(store, name, release):
    return asyncio.run(move.promote(store, name, release))


@pytest.fixture
def server(monkeypatch):
    """Gives a function that starts a plain store, and its addresses in both dialects."""
    with plain.running() as running:
        account = {"gcs_base_url": running.endpoint, "disable_oauth": True, "client_email": "",
                   "private_key": "", "private_key_id": ""}  # fmt: skip
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


@pytest.mark.parametrize("url", ["gs://bucket/r", "s3://bucket/r"])
def test_the_whole_life_by_the_letters_of_a_protocol(server, tmp_path, url):
    one, two = built(tmp_path / "one", a=b"1"), built(tmp_path / "two", a=b"1", b=b"2")
    store = ReleaseStore(url)
    first, second = published(store, one), published(store, two)
    promoted(store, "prod", first)
    promoted(store, "prod", second)
    asyncio.run(pull.pull(store, "prod", tmp_path / "pod", pull.Options()))
    assert files(tmp_path / "pod") == files(two)
    assert asyncio.run(move.rollback(store, "prod", None)).channel.release == first
    gone = asyncio.run(collect.collect(store, timedelta(days=1), grace=NOW))
    assert gone.objects == 0
    assert asyncio.run(verify.in_store(store, "prod", Trust())).release == first


@pytest.mark.parametrize("url", ["gs://bucket/r", "s3://bucket/r"])
def test_one_of_two_movers_is_told(server, tmp_path, url):
    store = ReleaseStore(url)
    first = published(store, built(tmp_path / "one", a=b"1"))
    second = published(store, built(tmp_path / "two", a=b"1", b=b"2"))
    promoted(store, "prod", first)

    async def both():
        channel, tag = await store.channel("prod")
        await move.promote(store, "prod", second)
        return await store.put_channel(channel, tag)

    assert not asyncio.run(both())
    assert asyncio.run(store.resolve("prod")) == second


@pytest.mark.parametrize("url", ["gs://bucket/r", "s3://bucket/r"])
def test_a_store_that_takes_no_notice_of_conditions_is_refused(server, tmp_path, url):
    store = ReleaseStore(url)
    release = published(store, built(tmp_path / "one", a=b"1"))
    server.conditions = False
    with pytest.raises(MissingError, match="no notice of conditions"):
        promoted(store, "prod", release)
    with pytest.raises(MissingError, match="no notice of conditions"):
        published(store, built(tmp_path / "two", a=b"1", b=b"2"))
    asyncio.run(pull.pull(store, release, tmp_path / "pod", pull.Options()))  # reading needs none


@pytest.mark.parametrize("name", ["a b", "ü%41", "x#y", "a+b", "[x]*", "é" * 60])
def test_folders_of_any_name(tmp_path, name):
    """Of a store, and of a pod."""
    one = built(tmp_path / "one", a=b"1")
    store = ReleaseStore((tmp_path / name / "store").as_uri(), create=True)
    release = published(store, one)
    promoted(store, "prod", release)
    assert (tmp_path / name / "store" / layout.channel("prod")).exists()
    pods = tmp_path / "pods"
    other = pods / ".other.new-1"
    other.mkdir(parents=True)
    asyncio.run(pull.pull(store, "prod", pods / name, pull.Options()))
    assert files(pods / name) == files(one)
    assert other.exists()


# --- claims and collections of those that died ---------------------------------------------


@pytest.fixture
def store(tmp_path):
    return ReleaseStore((tmp_path / "store").as_uri(), create=True)


def claimed(store, release, age):
    value = {
        "schema": 1,
        "release": release,
        "at": (datetime.now(UTC) - age).isoformat(timespec="seconds"),
        "files": {"f": "0" * 64},
    }
    asyncio.run(store.bucket.put(layout.claim("cpu", "a", "1"), json.dumps(value).encode()))


NEVER = "sha256:" + "0" * 64
LONG = claims.ABANDONED + timedelta(minutes=1)


def test_a_claim_of_a_release_that_never_came_to_be_is_taken_over(store, tmp_path):
    claimed(store, NEVER, LONG)
    release = published(store, built(tmp_path / "one", a=b"1"))
    assert asyncio.run(verify.in_store(store, release, Trust())).release == release
    with pytest.raises(WorkFailedError, match="published before"):  # and now it stands
        published(store, built(tmp_path / "other", a=b"other"))


@pytest.mark.parametrize("why", ["young", "there", "gone"])
def test_other_claims_stand(store, tmp_path, why):
    name = NEVER
    if why == "there":
        name = published(store, built(tmp_path / "b", b=b"1"))
    elif why == "gone":
        asyncio.run(store.bucket.put(layout.gone(name), b"{}"))
    claimed(store, name, timedelta(minutes=1) if why == "young" else LONG)
    with pytest.raises(WorkFailedError, match="published before, with other bytes"):
        published(store, built(tmp_path / "one", a=b"1"))


def collection(store, age):
    began = (datetime.now(UTC) - age).isoformat()
    content = json.dumps({"began": began, "by": "somebody"}).encode()
    asyncio.run(store.bucket.put(layout.COLLECTION, content))


def test_a_collection_that_died_is_taken_over(store, tmp_path):
    release = published(store, built(tmp_path / "one", a=b"1"))
    collection(store, timedelta(minutes=11))
    assert asyncio.run(collect.collect(store, NOW, grace=NOW)).releases == (release,)
    assert asyncio.run(store.bucket.get(layout.COLLECTION, 100)) is None


def test_a_collection_under_way_is_left_alone(store, tmp_path):
    published(store, built(tmp_path / "one", a=b"1"))
    collection(store, timedelta(minutes=1))
    with pytest.raises(WorkFailedError, match="another collection is under way"):
        asyncio.run(collect.collect(store, NOW, grace=NOW))
    assert asyncio.run(store.bucket.get(layout.COLLECTION, 100))


def test_what_a_dead_collection_left_goes_with_the_next(store, tmp_path):
    """It died between a manifest and the files."""
    one = built(tmp_path / "one", a=b"1")
    release = asyncio.run(publish.publish(one, store, publish.Options(tree=True))).release
    asyncio.run(store.bucket.put(layout.gone(release), b"{}"))
    asyncio.run(store.delete([layout.manifest(release)]))
    asyncio.run(collect.collect(store, NOW, grace=NOW))
    rows = [row.path for row in asyncio.run(store.list(""))]
    assert {path.split("/")[0] for path in rows if path != ".lock"} == {"claims", "gone"}


def test_a_tree_that_lost_files_is_laid_out_again(store, tmp_path):
    one = built(tmp_path / "one", a=b"1")
    how = publish.Options(tree=True)
    release = asyncio.run(publish.publish(one, store, how)).release
    lost = f"{layout.tree(release)}/a/1/f"
    asyncio.run(store.delete([lost]))
    asyncio.run(publish.publish(one, store, how))
    assert asyncio.run(store.bucket.get(lost, 100)) == b"1"
