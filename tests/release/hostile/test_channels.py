"""Channels that are none, or name what is not there."""

import asyncio
import json
import re

import pytest

from builder.errors import InputError, WorkFailedError
from builder.release import collect, layout, move
from builder.release.listing import listing
from tests.release.commands import run, wrong
from tests.release.hostile.forged import NOW, published, pulled, put
from tests.release.trees import files


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
        None,
    ],
    ids=str,
)
def test_a_channel_that_is_none_is_refused(store, first, tmp_path, changes):
    good = channel(store, first, **(changes or {}))
    put(store, layout.channel("prod"), b"{" if changes is None else good)
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        pulled(store, "prod", tmp_path / "pod")
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        asyncio.run(move.rollback(store, "prod", None))
    (broken,) = asyncio.run(listing(store)).broken
    assert re.search(r"not a channel|another schema", broken.problem)
    assert broken.where.endswith("/channels/prod.json")
    before = files(tmp_path / "store")
    with pytest.raises(WorkFailedError, match=r"not a channel|another schema"):
        asyncio.run(collect.collect(store, NOW, grace=NOW))  # drops nothing that it may name
    assert files(tmp_path / "store").keys() == before.keys()


def test_a_broken_channel_and_a_broken_release_hide_no_other(store, first, second, tmp_path):
    good, bad = published(store, first), published(store, second)
    for name in ("prod", "staging", "canary"):
        asyncio.run(move.promote(store, name, good))
    put(store, layout.channel("canary"), b"<html>")
    put(store, layout.channel("staging"), {"schema": 2})
    put(store, layout.manifest(bad), b"{}")
    url = (tmp_path / "store").as_uri()
    seen = run("releases", "--store", url)
    assert seen.code == 1
    assert good[:19] in seen.out
    assert f"prod: {good[:19]}, promote by" in seen.out
    assert re.findall(r"(\S+)/\S+\.json: (.*)", seen.err.replace(f"{url}/", "")) == [
        ("channels", "not a channel"),
        ("channels", "the channel is of another schema"),
        ("manifests", "the manifest is not the release's"),
    ]
    assert "channels/canary.json" in seen.err
    told = run("releases", "--store", url, "--json")
    assert told.code == 1
    assert [row["release"] for row in told.json["releases"]] == [good]
    assert [row["channel"] for row in told.json["channels"]] == ["prod"]
    assert [e["where"].removeprefix(f"{url}/").partition("/")[0] for e in told.json["errors"]] == [
        "channels",
        "channels",
        "manifests",
    ]
    assert all(e["fix"] and e["found"] for e in told.json["errors"])


def test_nothing_is_collected_while_a_channel_cannot_be_read(store, first, tmp_path):
    published(store, first)
    put(store, layout.channel("prod"), b"<html>")
    before = files(tmp_path / "store")
    url = (tmp_path / "store").as_uri()
    for dry in ((), ("--dry-run",)):
        said = wrong(1, "gc", "--releases", "--window", "0h", "--store", url, *dry)
        assert "channels/prod.json: not a channel" in said
        assert files(tmp_path / "store") == before


def test_a_channel_at_a_release_that_is_not_there_says_so(store, first, tmp_path):
    value = channel(store, first, release=MOVE["release"], history=[MOVE])
    put(store, layout.channel("prod"), value)
    with pytest.raises(InputError, match="no such release"):
        pulled(store, "prod", tmp_path / "pod")


def test_what_a_store_says_does_not_move_the_cursor(store, first, tmp_path):
    put(store, layout.channel("prod"), {"schema": "\x1b[2J"})
    said = wrong(1, "pull", "prod", tmp_path / "pod", "--store", (tmp_path / "store").as_uri())
    assert "\x1b" not in said
