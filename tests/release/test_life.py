"""The whole life of a release, in a folder and in memory: published, promoted, pulled, gone."""

import asyncio
import json
import shutil
from datetime import datetime, timedelta

import pytest

from builder.errors import InputError, WorkFailedError
from builder.release import collect, layout, move, publish, pull, verify
from builder.release.listing import listing
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from tests.release.trees import files, repository

NOW = timedelta(0)


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    url = (tmp_path / "store").as_uri() if request.param == "file" else "memory:///"
    return ReleaseStore(url, create=True)


@pytest.fixture
def first(tmp_path):
    folder = tmp_path / "first"
    repository(folder, {"a": {"1": {"model.onnx": b"a1"}}, "b": {"1": {"model.onnx": b"b1"}}})
    return folder


@pytest.fixture
def second(tmp_path):
    folder = tmp_path / "second"
    models = {
        "a": {"1": {"model.onnx": b"a1"}, "2": {"model.onnx": b"a2"}},
        "b": {"1": {"model.onnx": b"b1"}},
    }
    repository(folder, models)
    return folder


def published(store, folder, **options):
    return asyncio.run(publish.publish(folder, store, publish.Options(**options)))


def pulled(store, name, folder, **options):
    return asyncio.run(pull.pull(store, name, folder, pull.Options(**options)))


def promoted(store, name, release):
    return asyncio.run(move.promote(store, name, release))


def objects(store, prefix=""):
    return [row.path for row in asyncio.run(store.list(prefix))]


def test_what_is_pulled_is_what_was_published(store, first, tmp_path):
    done = published(store, first)
    pulled(store, done.release, tmp_path / "pod")
    assert files(tmp_path / "pod") == files(first)


def test_a_second_publication_uploads_nothing(store, first):
    assert published(store, first).new
    again = published(store, first)
    assert (again.new, again.uploaded) == (False, 0)


def test_a_change_of_one_model_uploads_that_model(store, first, second):
    published(store, first)
    before = set(objects(store, f"{layout.BLOBS}/"))
    done = published(store, second)
    new = set(objects(store, f"{layout.BLOBS}/")) - before
    assert len(new) == 2  # a's second version, and its config
    assert done.uploaded < done.size


def test_what_the_store_lost_is_uploaded_again(store, first, tmp_path):
    done = published(store, first)
    lost = objects(store, f"{layout.BLOBS}/")[0]
    asyncio.run(store.delete([lost]))
    with pytest.raises(WorkFailedError, match="not in the store"):
        pulled(store, done.release, tmp_path / "pod")
    assert not (tmp_path / "pod").exists()
    assert not published(store, first).new
    assert pulled(store, done.release, tmp_path / "pod").changed


@pytest.mark.parametrize("verdict", [{"passed": False, "reason": "not validated"}, {}])
def test_nothing_without_a_passing_verdict_is_published(store, tmp_path, verdict):
    repository(tmp_path / "r", {"a": {"1": {"m": b"1"}}}, verdict=verdict)
    with pytest.raises(InputError, match="passing verdict"):
        published(store, tmp_path / "r")
    assert objects(store) == []


def test_a_changed_file_is_not_published(store, first):
    (first / "a/1/model.onnx").write_bytes(b"A1")
    with pytest.raises(WorkFailedError, match="not as it was built"):
        published(store, first)
    assert objects(store, f"{layout.MANIFESTS}/") == []


def test_a_published_version_never_changes(store, first, tmp_path):
    published(store, first)
    repository(tmp_path / "other", {"a": {"1": {"model.onnx": b"else"}}})
    with pytest.raises(WorkFailedError, match="a 1 was published before, with other bytes") as e:
        published(store, tmp_path / "other")
    assert "new version" in e.value.fix
    assert len(objects(store, f"{layout.MANIFESTS}/")) == 1


def test_versions_of_two_targets_do_not_know_each_other(store, first, tmp_path):
    published(store, first)
    repository(tmp_path / "gpu", {"a": {"1": {"model.onnx": b"else"}}}, target="gpu")
    assert published(store, tmp_path / "gpu").new


def ensemble(folder, steps, **more):
    """A repository with an ensemble, whose config says these steps, and more models."""
    models = {"e": {"1": {"ensemble": b"-"}}, "a": {"1": {"m": b"a"}}, **more}
    repository(folder, models, members={"e": ["a"]}, config=f"# {steps}\n")
    return folder


def test_an_ensemble_is_what_its_config_says(store, tmp_path):
    published(store, ensemble(tmp_path / "one", "one"))
    with pytest.raises(WorkFailedError, match="e 1 was published before, with other bytes") as e:
        published(store, ensemble(tmp_path / "two", "others"))
    assert e.value.found == "config.pbtxt differ"
    assert "in ensembles/e/ensemble.yaml" in e.value.fix
    assert not published(store, ensemble(tmp_path / "again", "one")).new


@pytest.mark.parametrize("gone", [False, True])
def test_a_claim_of_an_ensemble_that_does_not_name_its_config_is_made_whole(store, tmp_path, gone):
    release = published(store, ensemble(tmp_path / "one", "one")).release
    path = layout.claim("cpu", "e", "1")
    claim = json.loads(asyncio.run(store.bucket.get(path, 10_000)))
    config = claim["files"].pop("../config.pbtxt")
    at = asyncio.run(store.bucket.read(path, 10_000))
    asyncio.run(store.bucket.replace(path, json.dumps(claim).encode(), at.tag))
    if gone:
        asyncio.run(store.bucket.delete([layout.manifest(release)]))
    else:
        with pytest.raises(WorkFailedError, match="e 1 was published before"):
            published(store, ensemble(tmp_path / "two", "others"))
    assert published(store, ensemble(tmp_path / "more", "one", b={"1": {"m": b"b"}})).new
    whole = json.loads(asyncio.run(store.bucket.get(path, 10_000)))
    assert (whole["release"], whole["files"]["../config.pbtxt"]) == (release, config)


def test_a_channel_goes_forward_and_back(store, first, second):
    one, two = published(store, first).release, published(store, second).release
    assert promoted(store, "prod", one).before is None
    assert promoted(store, "prod", two).before == one
    assert not promoted(store, "prod", two).changed
    assert asyncio.run(store.resolve("prod")) == two
    assert asyncio.run(move.rollback(store, "prod", None)).channel.release == one
    with pytest.raises(InputError, match="nothing to go back to"):
        asyncio.run(move.rollback(store, "prod", None))
    assert promoted(store, "prod", two).before == one


def test_a_rollback_goes_to_a_release_that_is_named(store, first, second):
    one, two = published(store, first).release, published(store, second).release
    promoted(store, "prod", one)
    with pytest.raises(InputError, match="never was at"):
        asyncio.run(move.rollback(store, "prod", two))
    promoted(store, "prod", two)
    assert asyncio.run(move.rollback(store, "prod", one[7:15])).channel.release == one


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Ann\nSigned-off-by: Ben\n", "Ann Signed-off-by: Ben"),
        ("\x1b[31mred", "[31mred"),
        ("x" * 1_000_000, "x" * 100),
        ("Zoë", "Zoë"),
    ],
)
def test_whoever_moves_a_channel_leaves_it_readable(store, first, monkeypatch, said, kept):
    monkeypatch.setenv("TRITON_BUILDER_ACTOR", said)
    promoted(store, "prod", published(store, first).release)
    channel, _ = asyncio.run(store.channel("prod"))
    assert channel.history[-1].by == kept


def test_a_channel_stays_with_its_target(store, first, tmp_path):
    repository(tmp_path / "gpu", {"a": {"1": {"model.onnx": b"g"}}}, target="gpu")
    promoted(store, "prod", published(store, first).release)
    with pytest.raises(InputError, match="another target"):
        promoted(store, "prod", published(store, tmp_path / "gpu").release)


@pytest.mark.parametrize("name", ["deadbeef", "Prod", "a/b", "", "-x", "sha256-abcdef"])
def test_names_that_no_channel_may_have(store, first, name):
    release = published(store, first).release
    with pytest.raises(InputError, match="no name for a channel"):
        promoted(store, name, release)


@pytest.mark.parametrize("name", ["sha256:7e05", "7e"])
def test_a_name_of_a_release_that_is_too_short_says_so(store, first, name):
    published(store, first)
    with pytest.raises(InputError) as caught:
        promoted(store, "prod", name)
    assert caught.value.fix == "of a release's name give six digits or more"


def test_too_short_a_start_that_could_be_a_channel_says_both(store):
    with pytest.raises(InputError, match="there is no such channel") as caught:
        asyncio.run(store.resolve("d2ef"))
    assert "RELEASE d2ef; of a release's name give six digits or more" in caught.value.fix


def test_a_release_goes_by_the_start_of_its_name(store, first):
    release = published(store, first).release
    for name in (release, release[7:], release[:15], release[7:13]):
        assert asyncio.run(store.resolve(name)) == release
    with pytest.raises(InputError, match="no such release"):
        asyncio.run(store.resolve("0" * 12 if release[7] != "0" else "1" * 12))
    with pytest.raises(InputError, match="no such release"):
        asyncio.run(store.release("sha256:" + "0" * 64))


def test_one_channel_can_be_promoted_to_another(store, first):
    release = published(store, first).release
    promoted(store, "staging", release)
    assert promoted(store, "prod", "staging").channel.release == release


def test_a_pull_that_has_nothing_to_do_says_so(store, first, tmp_path):
    release = published(store, first).release
    assert pulled(store, release, tmp_path / "pod").changed
    assert not pulled(store, release, tmp_path / "pod").changed


def test_a_pull_mends_a_folder_that_somebody_changed(store, first, tmp_path):
    release = published(store, first).release
    pod = tmp_path / "pod"
    pulled(store, release, pod)
    weights = pod / "a/1/model.onnx"
    weights.unlink()
    weights.write_bytes(b"xx")
    (pod / "b" / "extra").write_text("x")
    assert pulled(store, release, pod).changed
    assert files(pod) == files(first)


def test_a_file_changed_in_place_does_not_come_back_from_the_cache(store, first, tmp_path):
    release = published(store, first).release
    pod = tmp_path / "pod"
    pulled(store, release, pod)
    weights = pod / "a/1/model.onnx"  # one file with the cache's
    weights.chmod(0o644)
    weights.write_bytes(b"xx")
    assert pulled(store, release, pod).changed
    assert files(pod) == files(first)


def test_an_update_downloads_what_is_new(store, first, second, tmp_path):
    one, two = published(store, first).release, published(store, second).release
    pod = tmp_path / "pod"
    pulled(store, one, pod)
    update = pulled(store, two, pod)
    assert 0 < update.downloaded < update.size
    assert files(pod) == files(second)
    assert pulled(store, one, pod).changed
    assert files(pod) == files(first)


def test_pods_of_a_node_share_a_cache(store, first, tmp_path):
    release = published(store, first).release
    cache = tmp_path / "cache"
    assert pulled(store, release, tmp_path / "one", cache=cache).downloaded
    assert pulled(store, release, tmp_path / "two", cache=cache).downloaded == 0


def test_a_cache_that_somebody_changed_is_not_believed(store, first, tmp_path):
    release = published(store, first).release
    cache = tmp_path / "cache"
    pulled(store, release, tmp_path / "one", cache=cache)
    for blob in cache.rglob("*"):
        if blob.is_file():
            blob.chmod(0o644)
            blob.write_bytes(b"swapped")
    pulled(store, release, tmp_path / "two", cache=cache)
    assert files(tmp_path / "two") == files(first)


def test_some_models_come_with_what_they_are_made_of(store, tmp_path):
    models = {n: {"1": {"m": n.encode()}} for n in ("tok", "net", "other")}
    repository(
        tmp_path / "r", {**models, "both": {"1": {"ensemble": b"-"}}},
        members={"both": ["tok", "net"]},
    )  # fmt: skip
    release = published(store, tmp_path / "r").release
    pod = tmp_path / "pod"
    assert pulled(store, release, pod, models=["both"]).models == ("both", "net", "tok")
    assert {p.name for p in pod.iterdir()} == {"both", "net", "tok", "manifest.json"}
    assert not pulled(store, release, pod, models=["both"]).changed
    assert pulled(store, release, pod, models=["other"]).changed
    assert pulled(store, release, pod).changed
    with pytest.raises(InputError, match="no such model"):
        pulled(store, release, pod, models=["neither"])


def test_a_folder_of_somebody_else_is_left_alone(store, first, tmp_path):
    release = published(store, first).release
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not written by triton-builder"):
        pulled(store, release, tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").read_text() == "x"


def test_verify_reads_every_byte(store, first, tmp_path):
    release = published(store, first).release
    assert asyncio.run(verify.in_store(store, release, Trust())).files == 4
    pulled(store, release, tmp_path / "pod")
    assert verify.in_folder(tmp_path / "pod", Trust()).release == release
    blob = layout.blob(
        next(iter(dict(asyncio.run(store.release(release)).manifest.tree()).values()))[0]
    )
    asyncio.run(store.bucket.put(blob, b"x" * asyncio.run(store.bucket.size(blob))))
    with pytest.raises(WorkFailedError, match="not in the store as it was published") as e:
        asyncio.run(verify.in_store(store, release, Trust()))
    assert "other bytes" in e.value.found
    weights = tmp_path / "pod/a/1/model.onnx"
    weights.chmod(0o644)
    weights.write_bytes(b"zz")
    with pytest.raises(WorkFailedError, match="not as they were released"):
        verify.in_folder(tmp_path / "pod", Trust())


def test_verify_misses_a_model_that_was_pulled(store, first, tmp_path):
    release = published(store, first).release
    pulled(store, release, tmp_path / "pod")
    pulled(store, release, tmp_path / "some", models=["b"])
    assert verify.in_folder(tmp_path / "some", Trust()).without == ("a",)
    shutil.rmtree(tmp_path / "pod" / "a")
    with pytest.raises(WorkFailedError, match="not as they were released") as e:
        verify.in_folder(tmp_path / "pod", Trust())
    assert "a/config.pbtxt" in e.value.found
    shutil.copytree(tmp_path / "pod", tmp_path / "copy")  # nobody knows what it should hold
    assert verify.in_folder(tmp_path / "copy", Trust()).without == ("a",)


def test_a_swapped_blob_never_enters_the_tree(store, first, tmp_path):
    release = published(store, first).release
    one, other = objects(store, f"{layout.BLOBS}/")[:2]
    asyncio.run(store.bucket.copy(other, one, 10))
    with pytest.raises(WorkFailedError, match=r"not what was published|not in the store"):
        pulled(store, release, tmp_path / "pod")
    assert not (tmp_path / "pod").exists()


def test_a_swapped_manifest_is_refused(store, first, second, tmp_path):
    one, two = published(store, first).release, published(store, second).release
    asyncio.run(store.bucket.copy(layout.manifest(two), layout.manifest(one), 10))
    with pytest.raises(WorkFailedError, match="not the release's"):
        pulled(store, one, tmp_path / "pod")


def test_plain_files_are_laid_out(store, first):
    done = published(store, first, tree=True)
    root = layout.tree(done.release)
    laid = {path.removeprefix(f"{root}/") for path in objects(store, f"{root}/")}
    assert laid == set(files(first))
    assert published(store, first, tree=True).uploaded == 0


@pytest.mark.parametrize(("name", "content"), [("ü.bin", b"1"), ("a b", b"1"), ("empty", b"")])
def test_names_and_files_that_plain_stores_lose(store, tmp_path, name, content):
    repository(tmp_path / "r", {"a": {"1": {name: content}}})
    with pytest.raises(InputError, match=r"plain files in a store|empty file"):
        published(store, tmp_path / "r", tree=True)
    release = published(store, tmp_path / "r").release
    pulled(store, release, tmp_path / "pod")
    assert files(tmp_path / "pod") == files(tmp_path / "r")


def test_gc_keeps_what_channels_are_at_and_were_at(store, first, second, tmp_path):
    repository(tmp_path / "third", {"a": {"1": {"model.onnx": b"a1"}, "3": {"m": b"a3"}}})
    one, two = published(store, first).release, published(store, second).release
    three = published(store, tmp_path / "third").release
    promoted(store, "prod", one)
    promoted(store, "prod", two)
    gone = asyncio.run(collect.collect(store, NOW, grace=NOW))
    assert gone.releases == (three,)
    assert set(gone.kept) == {one, two}
    pulled(store, one, tmp_path / "pod")
    pulled(store, two, tmp_path / "pod")
    with pytest.raises(InputError, match="dropped by gc"):
        pulled(store, three, tmp_path / "pod")
    assert published(store, tmp_path / "third").new
    assert pulled(store, three, tmp_path / "pod").changed


def test_gc_leaves_what_is_young(store, first):
    published(store, first)
    before = objects(store)
    assert asyncio.run(collect.collect(store, timedelta(days=1))).objects == 0
    assert objects(store) == before


def test_gc_minds_what_is_being_published(store, first):
    async def meanwhile():
        release = publish.proven(first)
        async with store.under_way(release.name, release.content, lambda _: None):
            digest, _ = next(iter(dict(release.manifest.tree()).values()))
            await store.bucket.put(layout.blob(digest), b"a1")
            gone = await collect.collect(store, NOW, grace=NOW)
            return gone.objects, await store.bucket.size(layout.blob(digest))

    assert asyncio.run(meanwhile()) == (0, 2)


def test_a_clock_that_is_ahead_makes_nothing_old(store, first, monkeypatch):
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=400)

    published(store, first)
    before = objects(store)
    monkeypatch.setattr(collect, "datetime", Ahead)
    assert asyncio.run(collect.collect(store, timedelta(days=30))).objects == 0
    assert objects(store) == before


def test_a_publication_waits_for_gc(store, first):
    said = []

    async def both():
        async with collect._alone(store):
            task = asyncio.ensure_future(
                publish.publish(first, store, publish.Options(say=said.append))
            )
            await asyncio.sleep(0.3)
            assert not await store.names()
        return await task

    assert asyncio.run(both()).new
    assert said == ["releases are being collected there; waiting"]


def test_a_dry_collection_only_tells(store, first):
    published(store, first)
    before = objects(store)
    gone = asyncio.run(collect.collect(store, NOW, grace=NOW, dry=True))
    assert len(gone.releases) == 1
    assert objects(store) == before


def test_claims_outlive_their_release(store, first, tmp_path):
    published(store, first)
    asyncio.run(collect.collect(store, NOW, grace=NOW))
    repository(tmp_path / "other", {"a": {"1": {"model.onnx": b"else"}}})
    with pytest.raises(WorkFailedError, match="published before"):
        published(store, tmp_path / "other")


def test_the_listing_shows_releases_and_channels(store, first, second):
    one, two = published(store, first).release, published(store, second).release
    promoted(store, "prod", one)
    found = asyncio.run(listing(store))
    assert {row.release: row.channels for row in found.releases} == {one: ("prod",), two: ()}
    assert [channel.name for channel in found.channels] == ["prod"]
    assert not found.broken
