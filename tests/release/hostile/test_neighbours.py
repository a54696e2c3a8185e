"""Caches, trees and neighbours that lie: no link is followed, and no byte believed."""

import hashlib
import os

import pytest

from builder.release import layout
from builder.remote.limits import PART
from tests.release.hostile.forged import published, pulled
from tests.release.trees import files, repository

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
