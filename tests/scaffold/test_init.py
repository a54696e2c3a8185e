import errno

import pytest

from builder.errors import InputError, WorkFailedError
from builder.scaffold import model, project
from builder.spec.project import load


def test_what_is_written_is_well_formed(tmp_path):
    assert project(tmp_path) == ["pyproject.toml", "models/", "ensembles/", ".gitignore"]
    assert model(tmp_path, "first") == ["models/first/model.yaml", "models/first/source.py"]
    assert list(load(tmp_path).models) == ["first"]


def test_nothing_is_overwritten(tmp_path):
    project(tmp_path)
    model(tmp_path, "first")
    with pytest.raises(InputError, match="already"):
        model(tmp_path, "first")
    assert project(tmp_path) == []


def test_a_pyproject_of_the_users_own_is_left_alone(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    with pytest.raises(InputError) as caught:
        project(tmp_path)
    assert "[tool.triton-builder.targets.cpu]" in caught.value.detail
    assert (tmp_path / "pyproject.toml").read_text() == "[project]\nname = 'mine'\n"


@pytest.mark.parametrize("before", [b"", b"*.log\n", b"*.log", b"caf\xe9\n/releases/\n"])
def test_what_git_ignored_before_it_ignores_still(tmp_path, before):
    (tmp_path / ".gitignore").write_bytes(before)
    project(tmp_path)
    lines = (tmp_path / ".gitignore").read_bytes().splitlines()
    assert set(lines) == {*before.splitlines(), b"/repository/", b"/releases/"}
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b"])
def test_names_that_will_not_do(tmp_path, name):
    with pytest.raises(InputError):
        model(tmp_path, name)


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def full(path, _content):
        raise OSError(errno.ENOSPC, "full", str(path))

    monkeypatch.setattr("builder.scaffold.write_atomically", full)
    with pytest.raises(WorkFailedError, match="disk is full"):
        model(tmp_path, "zzz")
    assert list((tmp_path / "models").iterdir()) == []
