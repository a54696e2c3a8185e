"""The new tree begins as the last build; what it becomes is what a clean build makes."""

import hashlib
import itertools
import json
import shutil
import tempfile
from pathlib import Path

import pytest

from builder.errors import BuilderError
from builder.files import sha256
from builder.flow.build import Options, build
from builder.flow.context import context
from builder.repository import manifest as manifests
from builder.repository import swap
from builder.store.gc import Limits, collect
from tests.projects import ECHO_MODEL, ECHO_SOURCE, echo

pytestmark = pytest.mark.slow

CHANGED = ECHO_SOURCE.replace("[5, 6]", "[5, 7]")


def tree(root):
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (root / "repository" / "cpu").rglob("*")
        if p.is_file()
    }


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """What a build from nothing makes of a project."""

    def make(project):
        root = tmp_path / "clean" / "project"
        shutil.copytree(project / "models", root / "models")
        shutil.copy(project / "pyproject.toml", root)
        with monkeypatch.context() as patch:
            patch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "clean" / "cache"))
            build(context(root, None), Options(jobs=1, validate=False))
        return tree(root)

    return make


@pytest.fixture
def three(project, built):
    for name in ("stays", "changes", "goes"):
        echo(project, name, ECHO_SOURCE + f"# {name}\n")
    built()
    return project


def test_models_that_change_come_and_go_are_as_in_a_clean_build(three, built, clean):
    echo(three, "changes", CHANGED)
    echo(three, "comes", ECHO_SOURCE.replace("[5, 6]", "[5, 8]"))
    shutil.rmtree(three / "models" / "goes")
    assert built().changed
    assert tree(three) == clean(three)


def test_a_file_added_to_a_model_is_there_and_one_removed_is_not(three, built, clean):
    spec = three / "models" / "changes" / "model.yaml"
    spec.write_text(spec.read_text().replace('"1.0": {}', '"1.1": {}'))
    assert built().changed
    assert "repository/cpu/changes/1001000/model.py" in tree(three)
    assert tree(three) == clean(three)


def test_what_the_store_has_lost_of_an_unchanged_model_is_made_again(three, built, clean):
    store = context(three, None).store
    digest = hashlib.sha256((three / "repository/cpu/stays/config.pbtxt").read_bytes()).hexdigest()
    store.blobs.path(digest).unlink()
    echo(three, "changes", CHANGED)
    outcome = built()
    assert "config stays" in outcome.ran
    assert tree(three) == clean(three)


def test_what_was_edited_in_the_repository_does_not_come_along(three, built, clean):
    path = three / "repository" / "cpu" / "stays" / "config.pbtxt"
    path.unlink()
    path.write_text("tampered")
    echo(three, "changes", CHANGED)
    assert built().changed
    assert tree(three) == clean(three)


def test_only_a_spare_is_left_beside_the_repository(three, built):
    echo(three, "changes", CHANGED)
    built()
    assert sorted(p.name for p in (three / "repository").iterdir()) == [
        ".cpu.lock",
        ".cpu.spare",
        "cpu",
    ]


def meddle(spare):
    """Does to a spare whatever can be done without another one of its parts noticing."""
    config = spare / "stays" / "config.pbtxt"
    config.unlink()
    config.write_text("tampered")
    (spare / "goes" / "1000000" / "model.py").unlink()
    (spare / "changes").rename(spare / "changed")
    (spare / "more" / "1").mkdir(parents=True)
    (spare / "out").symlink_to("/")
    (spare / "manifest.json").unlink(missing_ok=True)
    (spare / "manifest.json").mkdir()


DISTURBANCES = {
    "it is gone": shutil.rmtree,
    "much in it is wrong": meddle,
    "it is a link": lambda s: (s.rename(s.with_name("moved")), s.symlink_to(s.with_name("moved"))),
    "it is a file": lambda s: (shutil.rmtree(s), s.write_text("x")),
}


class TestSpare:
    """The former tree is brought up to date; what happened to it meanwhile does not matter."""

    @pytest.fixture
    def spare(self, three):
        return three / "repository" / ".cpu.spare"

    @pytest.fixture
    def change(self, three, built):
        turns = itertools.count()

        def build():
            folder = echo(three, "changes", CHANGED)
            (folder / "model.py").write_text(f"{ECHO_MODEL}# {next(turns)}\n")
            assert built().changed
            repository = three / "repository" / "cpu"
            found = swap.differences(repository, manifests.read(repository), sha256)
            assert found == []

        return build

    def test_what_did_not_change_is_not_made_again(self, three, spare, change):
        """From the first change on: there is a spare as soon as something was built."""
        folder = three / "repository" / "cpu" / "stays"
        inodes = [folder.stat().st_ino, (spare / "stays").stat().st_ino]
        for turn in range(2):
            change()
            assert folder.stat().st_ino == inodes[1 - turn]

    def test_a_model_that_changes_back_is_newer_than_what_it_replaces(self, three, built, change):
        """A server that polls looks at the times of folders."""
        folder = three / "repository" / "cpu" / "changes"
        first = (folder.parent / "manifest.json").read_bytes()
        change()
        before = folder.stat().st_mtime_ns
        echo(three, "changes", ECHO_SOURCE + "# changes\n")
        built()
        assert (folder.parent / "manifest.json").read_bytes() == first
        assert folder.stat().st_mtime_ns > before

    def test_whatever_was_done_to_it_the_new_tree_is_right(self, three, spare, change, clean):
        for what, disturb in DISTURBANCES.items():
            print(what)
            disturb(spare)
            change()
        assert tree(three) == clean(three)

    def test_a_manifest_that_leads_out_of_the_repository_is_not_followed(self, three, change):
        file = three / "repository" / "cpu" / "manifest.json"
        manifest = json.loads(file.read_text())
        for name in ("..", "", ".", "../../models", str(three / "models")):
            manifest["models"][name] = manifest["models"]["stays"]
        file.write_text(json.dumps(manifest))
        sources = [three / "models" / name / "source.py" for name in ("stays", "goes")]
        before = [path.read_text() for path in sources]
        change()
        assert [path.read_text() for path in sources] == before

    def test_a_build_that_fails_leaves_one_that_is_of_use(self, three, spare, change, built):
        before = (spare / "stays").stat().st_ino
        echo(three, "changes", "raise RuntimeError\n")
        with pytest.raises(BuilderError):
            built()
        change()
        assert (three / "repository" / "cpu" / "stays").stat().st_ino == before

    @pytest.fixture
    def elsewhere(self, monkeypatch, tmp_path):
        """A cache on another file system than the project."""
        shm = Path("/dev", "shm")
        if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is one file system only")
        with tempfile.TemporaryDirectory(dir=shm) as folder:
            monkeypatch.setenv("TRITON_BUILDER_CACHE", folder)
            yield

    def test_none_is_kept_where_files_are_copies(self, project, elsewhere, built):
        for text in ("", "# changed\n"):
            (echo(project) / "model.py").write_text(ECHO_MODEL + text)
            assert built().changed
        assert ".cpu.spare" not in {p.name for p in (project / "repository").iterdir()}

    def test_collecting_garbage_drops_it(self, three, spare, change):
        store = context(three, None).store
        collect(store, Limits(), dry=True)
        assert spare.exists()
        collect(store, Limits())
        assert not spare.exists()
        change()
        assert spare.exists()
        shutil.rmtree(three / "repository" / "cpu")
        collect(store, Limits())
        assert not spare.exists()
