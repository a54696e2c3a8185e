"""An OCI layout in a folder: whole or not there, and what others put there stays."""

import hashlib
import json
import threading

import pytest

from builder.errors import InputError, WorkFailedError
from builder.release.attest.attestations import attestations
from builder.release.oci.push import Options, push
from tests.release.attest.releases import ENCODER, MODELS, release
from tests.release.oci.registry import skopeo


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "cpu"


@pytest.fixture
def manifest(repository):
    return release(repository)


@pytest.fixture
def layout(tmp_path):
    return tmp_path / "layout"


def pushed(repository, manifest, target, **options):
    return push(repository, manifest.encode(), str(target), Options(**options))


def blobs(layout):
    return {p.name: p for p in (layout / "blobs" / "sha256").iterdir()}


def index(layout):
    return json.loads((layout / "index.json").read_bytes())["manifests"]


def tags(layout):
    name = "org.opencontainers.image.ref.name"
    return {m["annotations"][name]: m["digest"] for m in index(layout) if "annotations" in m}


def test_blobs_are_what_their_names_say(repository, manifest, layout):
    done = pushed(repository, manifest, f"{layout}:v1")
    found = blobs(layout)
    assert all(hashlib.sha256(p.read_bytes()).hexdigest() == n for n, p in found.items())
    assert tags(layout) == {"v1": done.digest, "v1-modelpack": done.model}
    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert (done.layers, done.uploaded, done.new) == (8, done.size, True)


def test_without_a_tag_it_is_the_release_s_own(repository, manifest, layout):
    done = pushed(repository, manifest, layout)
    assert done.tag == f"cpu-{manifest.digest[7:19]}"
    assert done.tag in tags(layout)


def test_a_second_push_writes_nothing(repository, manifest, layout):
    one = pushed(repository, manifest, f"{layout}:v1")
    times = {p: p.stat().st_mtime_ns for p in layout.rglob("*")}
    two = pushed(repository, manifest, f"{layout}:v1")
    assert {p: p.stat().st_mtime_ns for p in layout.rglob("*")} == times
    assert (two.layers, two.uploaded, two.new) == (0, 0, False)
    assert two.digest == one.digest


def test_another_release_of_the_tag_takes_its_place(tmp_path, repository, manifest, layout):
    pushed(repository, manifest, f"{layout}:v1")
    pushed(repository, manifest, f"{layout}:kept")
    changed = {**MODELS, "encoder": {**ENCODER, "1002000/model.onnx": b"weights of 1.2"}}
    other = release(tmp_path / "other", changed)
    done = pushed(tmp_path / "other", other, f"{layout}:v1")
    assert done.layers == 2  # the new version, and the manifest
    assert tags(layout)["v1"] == done.digest != tags(layout)["kept"]


def test_moved_bytes_add_up_to_the_total(repository, manifest, layout):
    totals, moved, lines = [], [], []
    pushed(repository, manifest, layout, total=totals.append, moved=moved.append, say=lines.append)
    assert [sum(moved)] == totals
    assert lines[0].startswith("8 layers, ")


def test_what_is_attested_is_listed_beside(repository, manifest, layout):
    said = attestations(manifest, manifest.digest)
    done = pushed(repository, manifest, f"{layout}:v1", attached=said)
    referrers = [m for m in index(layout) if "artifactType" in m and "annotations" not in m]
    assert len(referrers) == len(said)
    for entry in referrers:
        value = json.loads(blobs(layout)[entry["digest"][7:]].read_bytes())
        assert value["subject"]["digest"] == done.digest
        assert blobs(layout)[value["layers"][0]["digest"][7:]].read_bytes() in said.values()
    assert not pushed(repository, manifest, f"{layout}:v1", attached=said).new


def test_a_change_under_way_leaves_the_tag_where_it_was(repository, manifest, layout):
    done = pushed(repository, manifest, f"{layout}:v1")
    (repository / "encoder" / "1000000" / "model.onnx").write_bytes(b"torn")
    with pytest.raises(WorkFailedError, match="not as it was built"):
        pushed(repository, manifest, f"{layout}:v1")
    assert tags(layout)["v1"] == done.digest
    assert not [name for name in blobs(layout) if name.startswith(".")]


def test_two_at_once_both_get_their_tags(repository, manifest, layout):
    names = [f"t{n}" for n in range(8)]
    threads = [
        threading.Thread(target=pushed, args=(repository, manifest, f"{layout}:{name}"))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(names) <= set(tags(layout))


def test_a_truncated_blob_is_written_again(repository, manifest, layout):
    done = pushed(repository, manifest, f"{layout}:v1")
    largest = max(blobs(layout).values(), key=lambda p: p.stat().st_size)
    largest.write_bytes(b"torn")
    assert pushed(repository, manifest, f"{layout}:v1").layers == 1
    assert hashlib.sha256(largest.read_bytes()).hexdigest() == largest.name
    assert tags(layout)["v1"] == done.digest


def test_a_folder_of_something_else_is_left_alone(repository, manifest, layout):
    layout.mkdir()
    (layout / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        pushed(repository, manifest, layout)
    assert [p.name for p in layout.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="a file"):
        pushed(repository, manifest, layout / "thesis.tex")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"manifests": 7}', '{"manifests": [7]}'])
def test_an_index_that_cannot_be_read_is_named(repository, manifest, layout, content):
    pushed(repository, manifest, layout)
    (layout / "index.json").write_text(content)
    with pytest.raises(InputError, match=r"index\.json"):
        pushed(repository, manifest, layout)


@pytest.mark.slow
def test_skopeo_reads_it(tmp_path, repository, manifest, layout):
    done = pushed(repository, manifest, f"{layout}:v1", attached=attestations(manifest, "sha256:1"))
    labels = json.loads(skopeo("inspect", f"oci:{layout}:v1"))["Labels"]
    assert labels["triton-builder.release"] == manifest.digest
    raw = skopeo("inspect", "--raw", f"oci:{layout}:v1").encode()
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == done.digest
    skopeo("copy", "--all", f"oci:{layout}:v1", f"oci:{tmp_path / 'copy'}:v1")
    skopeo("copy", f"oci:{layout}:v1-modelpack", f"dir:{tmp_path / 'model'}")
