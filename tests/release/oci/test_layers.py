"""Layers carry a repository whole, in the same bytes each time, and a change in few of them."""

import hashlib
import io
import os
import tarfile

import pytest

from builder.errors import WorkFailedError
from builder.release.oci import layers
from builder.repository.manifest import Manifest, ModelEntry, VersionEntry
from tests.release.attest.releases import ENCODER, MODELS, release


def archive(layer, repository):
    return b"".join(layers.stream(layer, repository))


def digests(repository, manifest):
    return {
        layer.path: hashlib.sha256(archive(layer, repository)).hexdigest()
        for layer in layers.plan(manifest, manifest.encode())
    }


def unpacked(folder, repository, manifest):
    for layer in layers.plan(manifest, manifest.encode()):
        with tarfile.open(fileobj=io.BytesIO(archive(layer, repository))) as tar:
            tar.extractall(folder, filter="data")


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_all_layers_in_one_place_are_the_repository(tmp_path):
    manifest = release(tmp_path / "cpu")
    unpacked(tmp_path / "pulled", tmp_path / "cpu", manifest)
    assert files(tmp_path / "pulled") == files(tmp_path / "cpu")


def test_a_layer_is_a_version_or_what_lies_beside_versions(tmp_path):
    manifest = release(tmp_path)
    found = {layer.path: layer.kind for layer in layers.plan(manifest, manifest.encode())}
    assert found == {
        "encoder": "weight.config",
        "encoder/1000000": "weight",
        "encoder/1001000": "weight",
        "text": "weight.config",
        "text/1000000": "weight",
        "tokenizer": "weight.config",
        "tokenizer/1000000": "code",
        "manifest.json": "doc",
    }


def test_a_change_of_one_model_changes_its_layers_and_the_manifest_s(tmp_path):
    before = release(tmp_path / "one")
    changed = {**ENCODER, "config.pbtxt": b"other", "1002000/model.onnx": b"weights of 1.2"}
    after = release(tmp_path / "two", {**MODELS, "encoder": changed})
    one, two = digests(tmp_path / "one", before), digests(tmp_path / "two", after)
    differing = {path for path in two if one.get(path) != two[path]}
    assert differing == {"encoder", "encoder/1002000", "manifest.json"}


def test_no_machine_and_no_time_shows(tmp_path):
    manifest = release(tmp_path / "one")
    same = release(tmp_path / "elsewhere" / "two")
    for path in (tmp_path / "elsewhere").rglob("*"):
        path.chmod(0o755)
        os.utime(path, (1, 1))
    assert digests(tmp_path / "one", manifest) == digests(tmp_path / "elsewhere" / "two", same)
    assert digests(tmp_path / "one", manifest)["encoder/1000000"] == (
        "06f3f157c5c15de7ae1aef8dbfeabaeb19f64d4cc8d99f63140d22e2fd6b48d2"
    )


def test_entries_are_plain(tmp_path):
    manifest = release(tmp_path)
    (layer,) = (la for la in layers.plan(manifest, b"") if la.path == "tokenizer/1000000")
    with tarfile.open(fileobj=io.BytesIO(archive(layer, tmp_path))) as tar:
        entries = tar.getmembers()
    assert [e.name for e in entries] == [
        "tokenizer",
        "tokenizer/1000000",
        "tokenizer/1000000/site-packages",
        "tokenizer/1000000/site-packages/a",
        "tokenizer/1000000/model.py",
        "tokenizer/1000000/site-packages/a-b.py",
        "tokenizer/1000000/site-packages/a.py",
        "tokenizer/1000000/site-packages/a/b.py",
    ]
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries} == {(0, 0, "", "", 0)}
    assert {e.mode for e in entries if e.isdir()} == {0o755}
    assert {e.mode for e in entries if e.isfile()} == {0o644}


NAMES = ["ü/Ω.py", "x" * 90 + "/" + "y" * 120, "d/" * 60 + "deep.py", "with space", "n\nl"]


@pytest.mark.parametrize("name", NAMES, ids=["unicode", "long", "deep", "space", "newline"])
def test_names_of_all_kinds_arrive(tmp_path, name):
    models = {"m": {"config.pbtxt": b"", f"1000000/{name}": b"content"}}
    manifest = release(tmp_path / "cpu", models)
    unpacked(tmp_path / "pulled", tmp_path / "cpu", manifest)
    assert files(tmp_path / "pulled") == files(tmp_path / "cpu")


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_layer_s_size_is_known_before_it_is_made(tmp_path, length):
    manifest = release(tmp_path, {"m": {"1000000/w": bytes(length), "1000000/" + "n" * 200: b""}})
    for layer in layers.plan(manifest, manifest.encode()):
        assert layers.size(layer) == len(archive(layer, tmp_path))


def test_a_size_beyond_the_old_format_s_is_written(tmp_path):
    layer = layers.Layer("m", "weight", {"m/1/w": ("0" * 64, 20 << 30)})
    assert layers.size(layer) > 20 << 30
    assert tarfile.TarInfo.frombuf(layers._header("m/1/w", 20 << 30)[-512:], "utf-8", "strict")


WEIGHTS = "encoder/1000000/model.onnx"


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "shorter"),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "longer"),
        (lambda file: file.write_bytes(b"X" + file.read_bytes()[1:]), "sha256 "),
        (lambda file: file.unlink(), "No such file"),
    ],
    ids=["shorter", "longer", "changed", "gone"],
)
def test_a_file_that_is_not_as_it_was_built_does_not_go(tmp_path, edit, found):
    manifest = release(tmp_path / "cpu")
    edit(tmp_path / "cpu" / WEIGHTS)
    with pytest.raises(WorkFailedError, match=f"(?s){WEIGHTS}.*found: .*{found}"):
        digests(tmp_path / "cpu", manifest)


def test_an_empty_file_that_should_not_be_empty_is_noticed(tmp_path):
    manifest = release(tmp_path, {"m": {"config.pbtxt": b""}})
    manifest.models["m"].files["config.pbtxt"] = ("1" * 64, 0)
    with pytest.raises(WorkFailedError, match=r"m/config\.pbtxt"):
        digests(tmp_path, manifest)


def test_a_name_that_means_a_deletion_is_refused(tmp_path):
    manifest = release(tmp_path, {"m": {"1000000/.wh.model.onnx": b"x"}})
    with pytest.raises(WorkFailedError, match="deletion"):
        layers.plan(manifest, b"")


def many(models, versions=1, changed=None):
    def version(model, number):
        digest = hashlib.sha256(f"{model} {number} {model == changed}".encode()).hexdigest()
        return VersionEntry(number, "fp32", {"w": (digest, 1)}, "0" * 64, {}, [], {})

    return Manifest("cpu", "24.10", "cpu", {}, {
        f"model{m}": ModelEntry(
            "0" * 64, {"config.pbtxt": ("0" * 64, 1)},
            {str(v): version(f"model{m}", v) for v in range(1, versions + 1)},
        )
        for m in range(models)
    })  # fmt: skip


@pytest.mark.parametrize(("models", "versions"), [(40, 1), (60, 3), (100, 2), (101, 1), (2000, 2)])
def test_many_models_fit_into_the_layers_that_engines_take(models, versions):
    manifest = many(models, versions)
    planned = layers.plan(manifest, b"")
    assert len(planned) <= layers.MOST + 1
    carried = [name for layer in planned for name in layer.files]
    assert sorted(carried) == sorted([*dict(manifest.tree()), "manifest.json"])


@pytest.mark.parametrize("models", [60, 500])
def test_a_change_among_many_models_stays_in_its_layer(models):
    one = layers.plan(many(models, 3), b"")
    two = layers.plan(many(models, 3, changed="model7"), b"")
    assert sum(a != b for a, b in zip(one, two, strict=True)) == 1


@pytest.mark.parametrize("models", [500])
def test_another_model_among_many_joins_one_layer(models):
    one = {la.path: la.files for la in layers.plan(many(models), b"")}
    two = {la.path: la.files for la in layers.plan(many(models + 1), b"")}
    assert sum(one.get(path) != two[path] for path in two) == 1
