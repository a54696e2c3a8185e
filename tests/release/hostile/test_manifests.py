"""Manifests that lead elsewhere: nothing is written outside, and what is wrong is told."""

import hashlib
import json

import pytest

from builder.errors import WorkFailedError
from builder.release import layout
from tests.release.hostile.forged import published, pulled, put
from tests.release.trees import files

DIGEST = hashlib.sha256(b"evil").hexdigest()
A1 = hashlib.sha256(b"a1").hexdigest()
EVIL = {"sha256": DIGEST, "size": 4}


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


def test_a_manifest_that_somebody_changed_is_put_right_by_publishing_again(store, first, tmp_path):
    release = published(store, first)
    put(store, layout.manifest(release), b"{}")
    with pytest.raises(WorkFailedError, match="not the release's"):
        pulled(store, release, tmp_path / "pod")
    assert published(store, first) == release
    assert pulled(store, release, tmp_path / "pod").changed
