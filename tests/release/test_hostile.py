"""Stores, caches and neighbours that lie: nothing is written outside, and what is wrong is told."""

import asyncio
import hashlib
import json
import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import BuilderError, InputError, WorkFailedError
from builder.release import collect, layout, move, publish, pull, verify
from builder.release.listing import listing
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from builder.remote.limits import PART
from tests.release.commands import wrong
from tests.release.trees import files, repository

NOW = timedelta(0)
DIGEST = hashlib.sha256(b"evil").hexdigest()
A1 = hashlib.sha256(b"a1").hexdigest()
EVIL = {"sha256": DIGEST, "size": 4}


@pytest.fixture
def store(tmp_path):
    return ReleaseStore((tmp_path / "store").as_uri(), create=True)


@pytest.fixture
def first(tmp_path):
    folder = tmp_path / "first"
    repository(folder, {"a": {"1": {"model.onnx": b"a1"}}, "b": {"1": {"model.onnx": b"b1"}}})
    return folder


def published(store, folder):
    return asyncio.run(publish.publish(folder, store, publish.Options())).release


def pulled(store, name, folder, **options):
    return asyncio.run(pull.pull(store, name, folder, pull.Options(**options)))


def put(store, path, value):
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    asyncio.run(store.bucket.put(path, content))
    return content


def forged(store, change, folder):
    """A release whose manifest somebody made up, with all that it names in the store."""
    value = json.loads((folder / "manifest.json").read_bytes())
    change(value)
    content = json.dumps(value).encode()
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    put(store, layout.manifest(name), content)
    put(store, layout.blob(DIGEST), b"evil")
    return name


def version_file(name, content=EVIL):
    def change(value):
        value["models"]["a"]["versions"]["1"]["files"][name] = content

    return change


def model_file(name):
    return lambda value: value["models"]["a"]["files"].update({name: EVIL})


def model(name):
    return lambda value: value["models"].update({name: value["models"]["a"]})


def field(name, content):
    return lambda value: value["models"]["a"]["versions"]["1"].update({name: content})


def top(name, content):
    return lambda value: value.update({name: content})


LEADING_OUT = {
    "up": version_file("../../../up"),
    "up inside": version_file("x/../../../../up"),
    "absolute": version_file("/evil"),
    "absolute later": version_file("x//evil"),
    "dot": version_file("./x"),
    "dots alone": version_file(".."),
    "nothing": version_file(""),
    "slash at the end": version_file("x/"),
    "zero byte": version_file("x\0y"),
    "control": version_file("x\x1b[2Jy"),
    "surrogate": version_file("x\ud800"),
    "long": version_file("x" * 300),
    "very long": version_file("x/" * 600 + "x"),
    "beside a version": model_file("../b/config.pbtxt"),
    "a file and a folder": version_file("model.onnx/x"),
    "one file twice": model_file("1/model.onnx"),
    "model up": model("../up"),
    "model hidden": model(".hidden"),
    "model manifest": model("manifest.json"),
    "model with a slash": model("a/b"),
    "model without a name": model(""),
    "digest up": version_file("x", {"sha256": "../../../../up", "size": 4}),
    "digest absolute": version_file("x", {"sha256": "/etc/passwd", "size": 4}),
    "digest of capitals": version_file("x", {"sha256": DIGEST.upper(), "size": 4}),
    "size below zero": version_file("x", {"sha256": DIGEST, "size": -1}),
    "size without end": version_file("x", {"sha256": DIGEST, "size": 1 << 62}),
    "size no number": version_file("x", {"sha256": DIGEST, "size": "4"}),
    "size of two kinds": version_file("model.onnx.data", {"sha256": A1, "size": 9}),
    "number a path": field("number", "../.."),
    "number zero": field("number", 0),
    "number true": field("number", True),  # noqa: FBT003
    "verdict no object": field("verdict", []),
    "notes a number": field("notes", 4),
    "target up": top("target", "../up"),
    "triton a number": top("triton", 24),
    "models a list": top("models", []),
    "more than there is": top("extra", 1),
    "another schema": top("schema", 2),
}  # fmt: skip


@pytest.mark.parametrize("change", LEADING_OUT.values(), ids=LEADING_OUT.keys())
def test_a_manifest_that_leads_elsewhere_is_refused(store, first, tmp_path, change):
    name = forged(store, change, first)
    before = files(tmp_path)
    with pytest.raises(WorkFailedError, match=r"not a manifest|another schema") as e:
        pulled(store, name, tmp_path / "pod")
    assert e.value.where
    assert e.value.fix
    assert files(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'"a"'])
def test_a_manifest_that_is_none_is_refused(store, tmp_path, content):
    name = f"sha256:{hashlib.sha256(content).hexdigest()}"
    put(store, layout.manifest(name), content)
    with pytest.raises(WorkFailedError, match="not a manifest"):
        pulled(store, name, tmp_path / "pod")
    assert not (tmp_path / "pod").exists()


def test_a_file_that_is_larger_than_its_object_ends(store, first, tmp_path):
    name = forged(store, version_file("x", {"sha256": DIGEST, "size": 1 << 40}), first)
    with pytest.raises(WorkFailedError, match="not what was published"):
        pulled(store, name, tmp_path / "pod")
    assert not (tmp_path / "pod").exists()


def channel(store, first, **changes):
    release = published(store, first)
    asyncio.run(move.promote(store, "prod", release))
    value = json.loads(asyncio.run(store.bucket.get(layout.channel("prod"), 1 << 20)))
    return value | changes


MOVE = {
    "release": "sha256:" + "0" * 64,
    "at": "2026-01-01T00:00:00Z",
    "by": "x",
    "action": "promote",
}


@pytest.mark.parametrize(
    "changes",
    [
        {"channel": "staging"},
        {"release": "sha256:" + "0" * 64},
        {"history": []},
        {"history": {}},
        {"history": "x"},
        {"target": 4},
        {"target": "\x1b[2J"},
        {"release": "../x", "history": [MOVE | {"release": "../x"}]},
        {"release": None, "history": [MOVE | {"release": None}]},
        {"release": MOVE["release"], "history": [MOVE | {"by": "\x1b]0;evil\x07"}]},
        {"release": MOVE["release"], "history": [MOVE | {"action": "explode"}]},
        {"release": MOVE["release"], "history": [MOVE | {"extra": "x"}]},
        {"release": MOVE["release"], "history": [MOVE, 4]},
        {"schema": 2},
        {"schema": None},
    ],
    ids=str,
)
def test_a_channel_that_is_none_is_refused(store, first, tmp_path, changes):
    put(store, layout.channel("prod"), channel(store, first, **changes))
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        pulled(store, "prod", tmp_path / "pod")
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        asyncio.run(move.rollback(store, "prod", None))
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        asyncio.run(listing(store))
    before = files(tmp_path / "store")
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        asyncio.run(collect.collect(store, NOW, grace=NOW))  # drops nothing that it may name
    assert files(tmp_path / "store").keys() == before.keys()


def test_a_channel_at_a_release_that_is_not_there_says_so(store, first, tmp_path):
    value = channel(store, first, release=MOVE["release"], history=[MOVE])
    put(store, layout.channel("prod"), value)
    with pytest.raises(InputError, match="no such release"):
        pulled(store, "prod", tmp_path / "pod")


CLAIMS = [b"", b"[]", b"{", b"[" * 100_000, {"files": 4}, {"files": ["x"]}, {"files": {"x": 4}},
          {"files": {"m": "0"}, "release": 4, "at": "2020-01-01T00:00:00+00:00"},
          {"files": {"m": "0"}, "release": "../..", "at": "2020-01-01T00:00:00+00:00"},
          {"files": {"m": "0"}, "release": "x", "at": "2020-01-01"},
          {"files": {}, "at": []}]  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: str(claim)[:30])
def test_a_claim_that_is_none_refuses_other_bytes(store, first, claim):
    put(store, layout.claim("cpu", "a", "1"), claim)
    with pytest.raises(WorkFailedError, match="published before, with other bytes"):
        published(store, first)


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", {"release": 4}, {"release": "x", "blobs": 4}])
def test_a_collection_drops_nothing_while_a_mark_is_unclear(store, first, tmp_path, mark):
    published(store, first)
    put(store, layout.pending("x"), mark)
    before = files(tmp_path / "store").keys()
    with pytest.raises(WorkFailedError, match="what is under way"):
        asyncio.run(collect.collect(store, NOW, grace=NOW))
    assert files(tmp_path / "store").keys() == before


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"[]",
        {"began": 4},
        {"began": "2020-01-01"},
        {"began": "x"},
        {"began": "2999-01-01T00:00:00+00:00"},
    ],
)
def test_a_collection_that_is_none_holds_nobody_up(store, first, said):
    put(store, layout.COLLECTION, said)
    assert published(store, first)
    assert asyncio.run(collect.collect(store, NOW, grace=NOW)).releases


def test_a_manifest_that_somebody_changed_is_put_right_by_publishing_again(store, first, tmp_path):
    release = published(store, first)
    put(store, layout.manifest(release), b"{}")
    with pytest.raises(WorkFailedError, match="not the release's"):
        pulled(store, release, tmp_path / "pod")
    assert published(store, first) == release
    assert pulled(store, release, tmp_path / "pod").changed


def test_what_a_store_says_does_not_move_the_cursor(store, first, tmp_path):
    put(store, layout.channel("prod"), {"schema": "\x1b[2J"})
    said = wrong(1, "pull", "prod", tmp_path / "pod", "--store", (tmp_path / "store").as_uri())
    assert "\x1b" not in said


# --- any of it changed anyhow --------------------------------------------------------------


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8),
    st.sampled_from(["..", "../x", "/x", "a/../../b", "\0", "-" * 300, "sha256:" + "0" * 64]),
    st.just([]), st.just({}), st.lists(st.text(max_size=3), max_size=2),
)  # fmt: skip


def places(value, path=()):
    yield path
    if not isinstance(value, dict | list):
        return
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        yield from places(one, (*path, key))


def changed(value, path, junk, *, rename):
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) > 1:
        copy[path[0]] = changed(value[path[0]], path[1:], junk, rename=rename)
    elif rename and isinstance(copy, dict) and isinstance(junk, str):
        copy[junk] = copy.pop(path[0])
    else:
        copy[path[0]] = junk
    return copy


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_a_store_says_ends_in_a_tree_or_an_error(tmp_path, data):
    store = ReleaseStore("memory:///")
    folder, pod, cache = (tmp_path / name for name in ("built", "pod", "cache"))
    if not folder.exists():
        models = {n: {"1": {"m.onnx": n.encode()}} for n in ("tok", "net")}
        repository(folder, {**models, "both": {"1": {"e": b"-"}}}, members={"both": ["tok", "net"]})
        (tmp_path / "sentinel").write_text("x")
    release = published(store, folder)
    asyncio.run(move.promote(store, "prod", release))
    kinds = [layout.manifest(release), layout.channel("prod"), layout.claim("cpu", "tok", "1")]
    kind = data.draw(st.sampled_from(kinds))
    value = json.loads(asyncio.run(store.bucket.get(kind, 1 << 20)))
    path = data.draw(st.sampled_from(list(places(value))))
    lie = changed(value, path, data.draw(JUNK), rename=data.draw(st.booleans()))
    content = json.dumps(lie).encode()
    if kind == kinds[0]:  # and the channel with it, or else its name tells
        lied = f"sha256:{hashlib.sha256(content).hexdigest()}"
        told = asyncio.run(store.bucket.get(kinds[1], 1 << 20)).replace(
            release.encode(), lied.encode()
        )
        put(store, kinds[1], told)
        kind = layout.manifest(lied)
    put(store, kind, content)
    told = []
    for attempt in (
        lambda: pulled(store, "prod", pod, cache=cache),
        lambda: published(store, folder),
        lambda: asyncio.run(move.rollback(store, "prod", None)),
        lambda: asyncio.run(listing(store)),
        lambda: asyncio.run(collect.collect(store, NOW, grace=NOW)),
    ):
        try:
            attempt()
        except BuilderError as e:
            told.append(e)
    assert all(error.where or error.found for error in told)
    if pod.exists():
        verify.in_folder(pod, Trust())
    ours = {"built", "pod", "cache", "sentinel", ".pod.pull", ".pod.lock"}
    assert {p.name for p in tmp_path.iterdir()} <= ours


# --- neighbours ----------------------------------------------------------------------------


LARGE = os.urandom(2 * PART + 12345)


@pytest.fixture
def large(tmp_path):
    folder = tmp_path / "large"
    repository(folder, {"a": {"1": {"weights": LARGE, "model.onnx": b"a1"}}})
    return folder


def partial(cache):
    digest = hashlib.sha256(LARGE).hexdigest()
    place = cache / layout.blob(digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.with_name(f".{digest}.partial")


@pytest.mark.parametrize(
    "left",
    [b"", LARGE[:PART], LARGE[: PART + 7], LARGE, b"x" * PART, LARGE[:100] + b"x" + LARGE[101:PART],
     LARGE + b"x", b"x" * (len(LARGE) + 1)],
    ids=["none", "part", "odd", "all", "other", "flipped", "more", "other and more"],
)  # fmt: skip
@pytest.mark.parametrize("shared", [False, True])
def test_what_an_earlier_pull_left_is_not_believed(store, large, tmp_path, left, shared):
    release = published(store, large)
    cache = tmp_path / "cache" if shared else tmp_path / ".pod.pull"
    partial(cache).write_bytes(left)
    pulled(store, release, tmp_path / "pod", cache=tmp_path / "cache" if shared else None)
    assert files(tmp_path / "pod") == files(large)


def link(path, outside):
    path.symlink_to(outside)


def folder_of(path, outside):
    path.mkdir()
    (path / "x").write_bytes(b"x")


def dangling(path, outside):
    path.symlink_to(outside.with_name("nowhere"))


@pytest.mark.parametrize("make", [link, folder_of, dangling])
@pytest.mark.parametrize("what", ["partial", "blob"])
def test_links_and_folders_in_a_cache_lead_nowhere(store, large, tmp_path, make, what):
    release = published(store, large)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    cache = tmp_path / "cache"
    place = partial(cache)
    if what == "blob":
        place = place.with_name(place.name.removeprefix(".").removesuffix(".partial"))
    make(place, outside)
    pulled(store, release, tmp_path / "pod", cache=cache)
    assert files(tmp_path / "pod") == files(large)
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    assert not any(path.is_symlink() for path in (tmp_path / "pod").rglob("*"))


def test_a_link_in_the_tree_is_replaced_and_not_followed(store, first, tmp_path):
    release = published(store, first)
    pod, outside = tmp_path / "pod", tmp_path / "outside"
    pulled(store, release, pod)
    (pod / "a" / "1").rename(outside)
    (pod / "a" / "1").symlink_to(outside)
    (outside / "model.onnx").chmod(0o644)
    (outside / "model.onnx").unlink()
    (outside / "model.onnx").write_bytes(b"precious")
    assert pulled(store, release, pod).changed
    assert files(pod) == files(first)
    assert not (pod / "a" / "1").is_symlink()
    assert (outside / "model.onnx").read_bytes() == b"precious"


def test_a_folder_that_is_a_link_is_what_it_leads_to(store, first, tmp_path):
    release = published(store, first)
    (tmp_path / "disk").mkdir()
    (tmp_path / "pod").symlink_to(tmp_path / "disk" / "models")
    assert pulled(store, release, tmp_path / "pod").changed
    assert (tmp_path / "pod").is_symlink()
    assert files(tmp_path / "disk" / "models") == files(first)
    assert not pulled(store, release, tmp_path / "pod").changed


def test_a_pull_into_what_a_build_made_is_made_of_nothing(store, first, tmp_path):
    release = published(store, first)
    built, spare = tmp_path / "cpu", tmp_path / ".cpu.spare"
    repository(built, {"a": {"1": {"model.onnx": b"else"}}})
    repository(spare, {"old": {"1": {"model.onnx": b"old"}}, "a": {"1": {"model.onnx": b"?"}}})
    pulled(store, release, built)
    assert files(built) == files(first)
