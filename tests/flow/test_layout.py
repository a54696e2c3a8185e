"""The new tree begins as the last build; what it becomes is what a clean build makes."""

import hashlib
import shutil

import pytest

from builder.flow.build import Options, build
from builder.flow.context import context
from tests.projects import ECHO_SOURCE, echo

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


def test_nothing_is_left_beside_the_repository(three, built):
    echo(three, "changes", CHANGED)
    built()
    assert [p.name for p in (three / "repository").iterdir() if ".new-" in p.name] == []
