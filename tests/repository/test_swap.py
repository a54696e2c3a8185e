"""One tree takes another's place, whole; the other may be the next build's spare."""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.repository import swap
from builder.repository.manifest import FILE, Manifest, ModelEntry


@pytest.fixture
def manifest():
    return Manifest("cpu", "24.10", "cpu", {}, {})


def placed(repository, manifest, text, *, worth=False):
    with swap.staging(repository, lambda: worth) as tree:
        (tree / "file").write_text(text)
        swap.swap_in(tree, repository, manifest)


def failing(repository, *, worth):
    with swap.staging(repository, lambda: worth) as tree:
        (tree / "file").write_text("half")
        raise RuntimeError


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


@pytest.fixture
def image(tmp_path):
    """A folder of a container's image: overlayfs renames no folder that comes from below."""
    if os.geteuid() != 0:
        pytest.skip("a file system of our own needs root")
    place = tmp_path / "image"
    parts = {name: place / name for name in ("lower", "above", "seen")}
    place.mkdir()
    mount = ("mount", "-t")
    subprocess.run([*mount, "tmpfs", "image", place], check=True)
    for part in (*parts.values(), place / "above" / "up", place / "above" / "work"):
        part.mkdir()

    def begin():
        folders = (parts["lower"], place / "above" / "up", place / "above" / "work")
        options = "redirect_dir=off,lowerdir={},upperdir={},workdir={}".format(*folders)
        subprocess.run([*mount, "overlay", "image", "-o", options, parts["seen"]], check=True)
        return parts["seen"]

    yield parts["lower"], begin
    subprocess.run(["umount", "--recursive", "--lazy", place], check=True)


def test_a_tree_takes_the_place_of_one_in_an_image(image, manifest):
    lower, begin = image
    placed(lower / "cpu", manifest, "one", worth=True)
    placed(lower / "cpu", manifest, "two", worth=True)
    seen = begin()
    placed(seen / "cpu", manifest, "three", worth=True)
    assert (seen / "cpu" / "file").read_text() == "three"
    assert (seen / ".cpu.spare" / "file").read_text() == "two"
    assert sorted(p.name for p in seen.iterdir()) == [".cpu.spare", "cpu"]


class TestSpare:
    @pytest.fixture
    def repository(self, tmp_path, manifest):
        """Its spare holds `one`."""
        for text in ("one", "two"):
            placed(tmp_path / "cpu", manifest, text, worth=True)
        return tmp_path / "cpu"

    @pytest.fixture
    def spare(self, repository):
        return repository.parent / ".cpu.spare"

    def test_the_former_tree_is_kept_where_it_is_worth_it(self, repository, spare):
        assert (repository / "file").read_text() == "two"
        assert (spare / "file").read_text() == "one"
        assert sorted(p.name for p in repository.parent.iterdir()) == [".cpu.spare", "cpu"]

    def test_the_next_tree_begins_with_it(self, repository, spare):
        with swap.staging(repository) as tree:
            assert (tree / "file").read_text() == "one"
            assert not spare.exists()
        assert not tree.exists()

    def test_where_the_system_cannot_exchange_it_is_kept_as_well(
        self, repository, spare, manifest, monkeypatch
    ):
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
        placed(repository, manifest, "three", worth=True)
        assert (repository / "file").read_text() == "three"
        assert (spare / "file").read_text() == "two"
        assert sorted(p.name for p in repository.parent.iterdir()) == [".cpu.spare", "cpu"]

    def test_a_tree_that_was_not_swapped_in_may_be_the_spare(self, repository, spare):
        with pytest.raises(RuntimeError):
            failing(repository, worth=True)
        assert (spare / "file").read_text() == "half"
        assert (repository / "file").read_text() == "two"

    def test_a_link_in_its_place_is_not_followed(self, repository, spare):
        elsewhere = repository.parent / "elsewhere"
        spare.rename(elsewhere)
        spare.symlink_to(elsewhere)
        with swap.staging(repository, lambda: True) as tree:
            assert list(tree.iterdir()) == []
        assert (elsewhere / "file").read_text() == "one"
        assert not spare.is_symlink()

    def test_a_file_in_its_place_goes(self, repository, spare, manifest):
        shutil.rmtree(spare)
        spare.write_text("?")
        placed(repository, manifest, "three", worth=True)
        assert (spare / "file").read_text() == "two"

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_one_of_somebody_else_is_not_used(self, repository, spare):
        os.chown(spare, 65534, 65534)
        with swap.staging(repository) as tree:
            assert list(tree.iterdir()) == []

    def test_it_can_be_dropped_unless_a_build_is_at_it(self, repository, spare):
        with swap.claim(repository, print):
            swap.drop_spare(repository)
            assert spare.exists()
        swap.drop_spare(repository)
        assert not spare.exists()
        swap.drop_spare(repository)
        assert (repository / "file").read_text() == "two"


def test_what_was_never_built_has_no_spare_to_drop(tmp_path):
    swap.drop_spare(tmp_path / "cpu")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_that_is_not_swapped_in_is_gone(tmp_path):
    repository = tmp_path / "cpu"
    with pytest.raises(RuntimeError):
        failing(repository, worth=False)
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
    assert swap.differences(tmp_path, manifest, lambda path: Path(path).read_text()) == []
    (tmp_path / "model" / "1" / "manifest.json").unlink()
    assert swap.differences(tmp_path, manifest, lambda path: Path(path).read_text()) == [
        "model/1/manifest.json"
    ]


def test_a_link_to_a_folder_is_no_part_of_a_repository(tmp_path, manifest):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cpu" / "model").symlink_to(tmp_path / "elsewhere")
    assert swap.differences(tmp_path / "cpu", manifest, str) == ["model"]
