"""A folder holds what it is asked to, whatever lay there before."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.files import Seen, remove
from builder.repository.tree import Usual, lay


def found(folder):
    """All that lies below a folder: files by inode, links and folders as what they are."""
    return {
        p.relative_to(folder).as_posix(): "link"
        if p.is_symlink()
        else "folder"
        if p.is_dir()
        else p.stat().st_ino
        for p in folder.rglob("*")
    }


def seen(files):
    return {name: Seen.at(path) for name, path in files.items()}


@pytest.fixture
def blobs(tmp_path):
    """Files to be linked, by name."""
    (tmp_path / "blobs").mkdir()
    for name in "abc":
        (tmp_path / "blobs" / name).write_text(name)
    return {name: tmp_path / "blobs" / name for name in "abc"}


@pytest.fixture
def usual(tmp_path):
    return Usual.below(tmp_path)


FILES = {"config": "a", "1/model": "b", "1/deep/weights": "c"}


@pytest.fixture
def laid(tmp_path, blobs, usual):
    """A folder as it should be, and a function that makes it so again and says whether it is."""
    folder, files = tmp_path / "model", {name: blobs[blob] for name, blob in FILES.items()}

    def again():
        assert lay(folder, seen(files), usual)
        assert found(folder) == {
            "1": "folder",
            "1/deep": "folder",
            **{name: path.stat().st_ino for name, path in files.items()},
        }
        return folder

    again()
    return again


def test_files_are_links_of_those_that_were_asked_for(laid, blobs):
    folder = laid()
    assert (folder / "1" / "deep" / "weights").samefile(blobs["c"])


def test_what_is_right_is_left_alone(laid):
    folder = laid()
    before = [(p, p.lstat()) for p in [folder, *folder.rglob("*")]]
    laid()
    assert [(p, p.lstat()) for p, _ in before] == before


def replaced(path, text="b"):
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize(
    "disturb",
    [
        lambda f: (f / "1" / "model").unlink(),
        lambda f: replaced(f / "1" / "model"),
        lambda f: replaced(f / "1" / "model", "other"),
        lambda f: ((f / "1" / "model").unlink(), (f / "1" / "model").symlink_to(f / "config")),
        lambda f: ((f / "1" / "model").unlink(), (f / "1" / "model").mkdir()),
        lambda f: ((f / "1" / "model").unlink(), os.link(f / "config", f / "1" / "model")),
        lambda f: (f / "2" / "left").mkdir(parents=True),
        lambda f: (f / "1" / "added").write_text("x"),
        lambda f: (f / "1").rename(f / "2"),
        lambda f: ((f / "1").rename(f / "2"), (f / "1").symlink_to(f / "2")),
        lambda f: (remove(f / "1"), (f / "1").write_text("x")),
        lambda f: (remove(f), f.write_text("x")),
        lambda f: (f.rename(f.with_name("moved")), f.symlink_to(f.with_name("moved"))),
        lambda f: f.chmod(0o700),
        lambda f: (f / "1" / "deep").chmod(0o777),
        lambda f: (f / "1").chmod(0o500),
    ],
)
def test_what_was_disturbed_is_mended(laid, usual, disturb):
    disturb(laid())
    folder = laid()
    assert all(usual.fits(p.lstat()) for p in (folder, folder / "1", folder / "1" / "deep"))


def test_nothing_is_followed_out_of_the_folder(laid, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model").write_text("precious")
    folder = laid()
    remove(folder / "1")
    (folder / "1").symlink_to(elsewhere)
    (folder / "more").symlink_to(elsewhere)
    laid()
    assert (elsewhere / "model").read_text() == "precious"


NAMES = st.sampled_from(["config", "1", "2", "x"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
THINGS = st.sampled_from(["a", "b", "c", "copy", "link", "folder"])
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def strewn(folder: Path, things, blobs):
    """Puts things into a folder, wherever there is room for them."""
    folder.mkdir(exist_ok=True)
    for place, thing in things.items():
        path = folder / place
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if thing == "folder":
                path.mkdir()
            elif thing == "link":
                path.symlink_to(blobs["a"])
            elif thing == "copy":
                path.open("x").close()
            else:
                os.link(blobs[thing], path)
        except (FileExistsError, NotADirectoryError):
            continue


@QUICK
@given(st.dictionaries(PLACES, THINGS), st.dictionaries(PLACES, st.sampled_from("abc")))
def test_whatever_lay_there_the_folder_holds_what_was_asked(tmp_path, blobs, usual, before, asked):
    files = {
        name: blobs[blob]
        for name, blob in asked.items()
        if not any(other.startswith(f"{name}/") for other in asked)
    }
    folder = tmp_path / "model"
    remove(folder)
    strewn(folder, before, blobs)
    assert lay(folder, seen(files), usual)
    laid = {name: ino for name, ino in found(folder).items() if ino != "folder"}
    assert laid == {name: path.stat().st_ino for name, path in files.items()}
    assert all(any(p.iterdir()) for p in folder.rglob("*") if p.is_dir())
    assert all(path.read_text() == name for name, path in blobs.items())


def test_files_of_another_file_system_are_copies_and_said_to_be(tmp_path, usual):
    elsewhere = Path("/dev", "shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    source = elsewhere / f"triton-builder-{os.getpid()}"
    source.write_text("content")
    try:
        assert lay(tmp_path / "model", seen({"file": source}), usual) is False
        assert (tmp_path / "model" / "file").read_text() == "content"
        source.write_text("another")
        assert lay(tmp_path / "model", seen({"file": source}), usual) is False
        assert (tmp_path / "model" / "file").read_text() == "another"
    finally:
        source.unlink()
