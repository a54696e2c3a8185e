"""Claims, and marks of what is under way, that are none."""

import asyncio

import pytest

from builder.errors import WorkFailedError
from builder.release import collect, layout
from tests.release.hostile.forged import NOW, published, put
from tests.release.trees import files

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
