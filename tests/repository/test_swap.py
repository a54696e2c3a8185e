"""One tree takes another's place, whole."""

import ctypes

import pytest

from builder.repository import swap
from builder.repository.manifest import FILE, Manifest, ModelEntry


@pytest.fixture
def manifest():
    return Manifest("cpu", "24.10", "cpu", {}, {})


def placed(repository, manifest, text):
    with swap.staging(repository) as tree:
        (tree / "file").write_text(text)
        swap.swap_in(tree, repository, manifest)


def test_a_tree_is_put_in_and_the_former_one_goes(tmp_path, manifest):
    repository = tmp_path / "cpu"
    placed(repository, manifest, "one")
    placed(repository, manifest, "two")
    assert (repository / "file").read_text() == "two"
    assert (repository / FILE).is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["cpu"]


def test_where_the_system_cannot_exchange_two_renames_do(tmp_path, manifest, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    repository = tmp_path / "cpu"
    placed(repository, manifest, "one")
    placed(repository, manifest, "two")
    assert (repository / "file").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["cpu"]


def test_a_tree_that_is_not_swapped_in_is_gone(tmp_path):
    repository = tmp_path / "cpu"
    with pytest.raises(RuntimeError), swap.staging(repository) as tree:
        (tree / "file").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_swept_by_the_next(tmp_path, manifest):
    repository = tmp_path / "cpu"
    left = tmp_path / ".cpu.new-123-abc"
    left.mkdir()
    (left / "file").write_text("half")
    with swap.claim(repository, print):
        assert not left.exists()


def test_a_models_own_manifest_is_a_file_like_any_other(tmp_path):
    files = {"config.pbtxt": "c", "1/manifest.json": "m"}
    for name, text in files.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text(text)
    (tmp_path / FILE).write_text("ours")
    entry = ModelEntry("spec", {name: (text, 1) for name, text in files.items()}, {})
    manifest = Manifest("cpu", "24.10", "cpu", {}, {"model": entry})
    assert swap.differences(tmp_path, manifest, lambda path: path.read_text()) == []
    (tmp_path / "model" / "1" / "manifest.json").unlink()
    assert swap.differences(tmp_path, manifest, lambda path: path.read_text()) == [
        "model/1/manifest.json"
    ]


def test_a_link_to_a_folder_is_no_part_of_a_repository(tmp_path, manifest):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cpu" / "model").symlink_to(tmp_path / "elsewhere")
    assert swap.differences(tmp_path / "cpu", manifest, str) == ["model"]
