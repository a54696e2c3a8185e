"""Disks of this machine: full, read-only, mounted in the wrong place, on two file systems."""

import asyncio
import os
import shutil
import subprocess

import pytest

from builder.release import publish
from builder.release.store import ReleaseStore
from builder.remote.limits import PART
from tests.release.commands import right, run, wrong
from tests.release.trees import files, repository

pytestmark = pytest.mark.slow

ROOM, LITTLE = "96m", "12m"


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "first"
    small = {f"part{n}": b"%d" % n * 1000 for n in range(20)}
    large = {"weights": os.urandom(3 * PART + 77)}
    repository(folder, {"a": {"1": small | large}, "b": {"1": {"model.onnx": b"b1"}}})
    return folder


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "second"
    repository(folder, {"a": {"2": {"weights": os.urandom(2 * PART)}}})
    return folder


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of its own in a folder, until the test ends."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting a disk needs root")
    mounted = []

    def mount(*options, folder=None):
        folder = folder or tmp_path / f"disk{len(mounted)}"
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", *options, folder], check=True)
        mounted.append(folder)
        return folder

    yield mount
    for folder in reversed(mounted):
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small(disk):
    return disk("-t", "tmpfs", "-o", f"size={LITTLE}", "tmpfs")


def enlarge(folder):
    subprocess.run(["mount", "-o", f"remount,size={ROOM}", folder], check=True)


def read_only(disk, folder):
    """The same folder, where nothing can be written."""
    folder.mkdir(exist_ok=True)
    disk("--bind", folder, folder=folder)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)


@pytest.fixture
def store(tmp_path, first, second):
    """A store in a folder, with both releases; its address, and their names."""
    url = (tmp_path / "store").as_uri()
    where = ReleaseStore(url, create=True)
    names = [
        asyncio.run(publish.publish(folder, where, publish.Options())).release
        for folder in (first, second)
    ]
    return url, *names


@pytest.fixture
def project(first, tmp_path):
    root = tmp_path / "project"
    (root / "repository").mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[tool.triton-builder]\ndefault-target = "cpu"\n'
        '[tool.triton-builder.targets.cpu]\ntriton = "24.10"\ndevice = "cpu"\n'
    )
    (root / "repository" / "cpu").symlink_to(first)
    return root


def test_a_full_disk_leaves_what_was_there(store, small, first, second):
    url, one, two = store
    enlarge(small)
    pod = small / "pod"
    right("pull", two, pod, "--store", url)
    with (small / "filler").open("wb") as filler:
        filler.write(b"x" * (70 << 20))
    said = wrong(1, "pull", one, pod, "--store", url)
    assert "the disk is full" in said
    assert "--cache" in said
    assert "TRITON_BUILDER_CACHE" not in said
    assert files(pod) == files(second)
    (small / "filler").unlink()
    right("pull", one, pod, "--store", url)
    assert files(pod) == files(first)


def test_a_disk_full_from_the_start_has_no_half_of_a_release(store, small, first):
    url, one, _ = store
    assert "the disk is full" in wrong(1, "pull", one, small / "pod", "--store", url)
    assert not (small / "pod").exists()
    enlarge(small)
    right("pull", one, small / "pod", "--store", url)
    assert files(small / "pod") == files(first)


def test_a_full_cache_is_named(store, small, first, tmp_path):
    url, one, _ = store
    said = wrong(1, "pull", one, tmp_path / "pod", "--cache", small / "cache", "--store", url)
    assert "the disk is full" in said
    assert str(small / "cache") in said
    assert not (tmp_path / "pod").exists()
    enlarge(small)
    right("pull", one, tmp_path / "pod", "--cache", small / "cache", "--store", url)
    assert files(tmp_path / "pod") == files(first)


def test_a_full_disk_where_files_are_copied_to(store, small, first, tmp_path):
    url, one, _ = store
    said = wrong(1, "pull", one, small / "pod", "--cache", tmp_path / "cache", "--store", url)
    assert "the disk is full" in said
    assert not (small / "pod").exists()
    enlarge(small)
    right("pull", one, small / "pod", "--cache", tmp_path / "cache", "--store", url)
    assert files(small / "pod") == files(first)


def test_a_cache_on_another_disk_is_copied_from(store, disk, first, tmp_path):
    url, one, _ = store
    cache = disk("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs") / "cache"
    pods = [tmp_path / "pod", tmp_path / "other"]
    for pod in pods:
        right("pull", one, pod, "--cache", cache, "--store", url)
        assert files(pod) == files(first)
    for blob in cache.rglob("*"):
        if blob.is_file():
            blob.chmod(0o644)
            blob.write_bytes(b"swapped")
    assert [files(pod) for pod in pods] == [files(first)] * 2
    right("verify", pods[0])


def test_a_full_store_is_told_and_the_publication_done_again(project, small):
    url = (small / "store").as_uri()
    said = wrong(3, "-C", project, "publish", "--store", url)
    assert "No space left on device" in said
    assert right("releases", "--store", url, "--json").json["releases"] == []
    enlarge(small)
    done = right("-C", project, "publish", "--store", url, "--json").json
    right("verify", done["release"], "--store", url)


def test_a_store_that_cannot_be_written_is_read(store, disk, project, first, second, tmp_path):
    url, one, _ = store
    right("promote", one, "prod", "--store", url)
    read_only(disk, tmp_path / "store")
    right("pull", "prod", tmp_path / "pod", "--store", url)
    assert files(tmp_path / "pod") == files(first)
    for arguments in (
        ("-C", project, "publish"),
        ("promote", one, "prod"),
        ("rollback", "prod"),
        ("gc", "--releases"),
    ):
        code = 2 if arguments[0] == "rollback" else 3
        said = wrong(code, *arguments, "--store", url)
        assert "Read-only file system" in said or code == 2
    right("releases", "--store", url)


def test_a_place_that_cannot_be_written(store, disk, tmp_path):
    url, one, _ = store
    read_only(disk, tmp_path / "ro")
    said = wrong(3, "pull", one, tmp_path / "ro" / "pod", "--store", url)
    assert "cannot write here" in said
    assert "TRITON_BUILDER_CACHE" not in said
    said = wrong(
        3, "pull", one, tmp_path / "pod", "--cache", tmp_path / "ro" / "cache", "--store", url
    )
    assert "cannot write here" in said
    assert not (tmp_path / "pod").exists()


def test_a_cache_that_cannot_be_written_and_has_all_is_enough(store, disk, first, tmp_path):
    url, one, _ = store
    cache = tmp_path / "cache"
    right("pull", one, tmp_path / "pod", "--cache", cache, "--store", url)
    read_only(disk, cache)
    right("pull", one, tmp_path / "other", "--cache", cache, "--store", url)
    assert files(tmp_path / "other") == files(first)


def test_a_mount_point_cannot_be_swapped(store, disk, first, tmp_path):
    url, one, _ = store
    pod = disk("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs")
    (pod / "lost+found").mkdir()
    said = wrong(2, "pull", one, pod, "--store", url)
    assert "a mount point cannot be swapped" in said
    assert f"pull into {pod / 'repository'}" in said
    right("pull", one, pod / "repository", "--store", url)
    assert files(pod / "repository") == files(first)
    (tmp_path / "link").symlink_to(pod)
    assert "a mount point" in wrong(2, "pull", one, tmp_path / "link", "--store", url)
    assert "a mount point" in wrong(2, "pull", one, "/", "--store", url)


def test_files_and_folders_that_are_in_the_way(store, tmp_path):
    url, one, _ = store
    (tmp_path / "file").write_text("x")
    assert "in the way" in wrong(2, "pull", one, tmp_path / "file" / "pod", "--store", url)
    usage = run("pull", one, tmp_path / "file", "--store", url)
    assert (usage.code, "is a file" in usage.err) == (2, True)
    cache = tmp_path / "file" / "cache"
    assert "in the way" in wrong(2, "pull", one, tmp_path / "pod", "--cache", cache, "--store", url)
    assert (tmp_path / "file").read_text() == "x"


def test_what_other_users_may_not_read(store, first, tmp_path):
    """Pods run as somebody, and Triton as somebody else."""
    url, one, _ = store
    private = ("sh", "-c", 'umask 077; exec "$@"', "sh")
    right("pull", one, tmp_path / "pod", "--store", url, under=private)
    for path in (tmp_path / "pod").rglob("*"):
        assert path.stat().st_mode & 0o004, path
    assert (tmp_path / "pod").stat().st_mode & 0o005 == 0o005
