"""A project's files as they travel to a node."""

import os
import time
from pathlib import Path

import pytest

from builder.engine.ray import sources
from builder.errors import MissingError
from builder.remote.cache import Remote
from builder.store.digests import FileDigests
from builder.store.gc import Limits, collect
from builder.store.store import Store


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    _write(root / "pyproject.toml", "")
    _write(root / "models/m/model.yaml", "name: m")
    _write(root / "models/m/source.py", "import shared")
    _write(root / "shared/__init__.py", "")
    return root


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _tree(root, **how):
    return sources.tree(root, FileDigests(root.parent / "index.json"), **how)


def _files(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


OWN = {"pyproject.toml", "models/m/model.yaml", "models/m/source.py", "shared/__init__.py"}


def test_all_that_a_source_may_import_travels(project):
    assert set(_tree(project).files) == OWN


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        "models/m/.secret/key",
        "models/m/__pycache__/source.pyc",
        "node_modules/x/x.js",
        "repository/cpu/manifest.json",
        "env/pyvenv.cfg",
    ],
)
def test_secrets_output_and_environments_stay(project, path):
    _write(project / path, "x")
    assert set(_tree(project).files) == OWN


def test_a_models_own_folder_called_repository_travels(project):
    _write(project / "models/repository/source.py", "")
    assert "models/repository/source.py" in _tree(project).files


def test_caches_inside_the_project_stay(project):
    _write(project / "cache/blob", "x")
    assert set(_tree(project, without=[project / "cache"]).files) == OWN


def test_the_same_files_have_the_same_name_anywhere(project, tmp_path):
    before = _tree(project).encode()
    moved = project.rename(tmp_path / "moved")
    assert _tree(moved).encode() == before
    (moved / "shared/__init__.py").write_text("\n")
    assert _tree(moved).encode() != before


def test_a_link_inside_the_project_stays_one_and_what_is_outside_comes_along(project, tmp_path):
    _write(tmp_path / "data/weights.bin", "w")
    (project / "models/m/inner.py").symlink_to(project / "shared/__init__.py")
    (project / "models/m/folder").symlink_to("../../shared")
    (project / "models/m/weights.bin").symlink_to(tmp_path / "data/weights.bin")
    (project / "models/m/data").symlink_to(tmp_path / "data")
    (project / "models/m/nothing").symlink_to("nowhere")
    found = _tree(project)
    assert found.links == {
        "models/m/inner.py": "../../shared/__init__.py",
        "models/m/folder": "../../shared",
        "models/m/nothing": "nowhere",
    }
    assert set(found.files) == OWN | {"models/m/weights.bin", "models/m/data/weights.bin"}


def test_links_in_a_circle_end(project, tmp_path):
    outside = tmp_path / "outside"
    _write(outside / "file", "x")
    (outside / "again").symlink_to(outside)
    (project / "out").symlink_to(outside)
    assert set(_tree(project).files) == OWN | {"out/file"}


@pytest.fixture
def remote(tmp_path):
    found = Remote(f"file://{tmp_path}/remote", read_only=False, warn=pytest.fail)
    yield found
    found.close()


def test_a_node_has_the_same_files_read_only(project, remote, tmp_path):
    (project / "models/m/source.py").chmod(0o755)
    (project / "models/m/inner.py").symlink_to("source.py")
    before = _tree(project)
    name = sources.push(before, project, remote)
    place = tmp_path / "node/sources" / name
    sources.lay_out(name, place, Store(tmp_path / "node/store", place, remote=remote), remote)
    assert _tree(place) == before
    assert os.access(place / "models/m/source.py", os.X_OK)
    assert not (place / "models/m/model.yaml").stat().st_mode & 0o222
    assert not place.stat().st_mode & 0o222
    assert [p.name for p in place.parent.iterdir()] == [name]


def test_a_program_is_no_link_into_the_store(project, remote, tmp_path):
    (project / "models/m/source.py").chmod(0o755)
    name = sources.push(_tree(project), project, remote)
    place = tmp_path / "node/sources" / name
    store = Store(tmp_path / "node/store", place, remote=remote)
    sources.lay_out(name, place, store, remote)
    assert not any(status.st_mode & 0o111 for _, status in store.blobs)


def test_a_tree_that_is_not_there_is_missing(remote, tmp_path):
    place = tmp_path / "place"
    with pytest.raises(MissingError, match="does not give the project's sources"):
        sources.lay_out("0" * 64, place, Store(tmp_path / "store", place, remote=remote), remote)
    assert not Path(place).exists()


def test_trees_that_nobody_works_on_are_collected(project, remote, tmp_path):
    name = sources.push(_tree(project), project, remote)
    place = tmp_path / "node/sources" / name
    store = Store(tmp_path / "node/store", place, remote=remote)
    half = place.with_name(".half")

    def aged():
        sources.lay_out(name, place, store, remote)
        half.mkdir(exist_ok=True)
        for folder in (place, half):
            os.utime(folder, (time.time() - 3600,) * 2)

    aged()
    assert collect(store, Limits(), dry=True).sources == 1
    assert collect(store, Limits(age=7200)).sources == 0
    with store.leases.take():
        sources.lay_out(name, place, store, remote)
        assert collect(store, Limits()).sources == 0
        assert [p.name for p in place.parent.iterdir()] == [name]
    aged()
    assert collect(store, Limits()).sources == 1
    assert list(place.parent.iterdir()) == []
    sources.lay_out(name, place, store, remote)
    assert _tree(place) == _tree(project)
