"""Publications and pulls killed at any moment: never half of anything, and the next one ends it."""

import asyncio
import os
import random
import shutil
import signal
import threading
import time
from contextlib import suppress

import pytest

from builder.release import layout, verify
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from builder.remote.limits import PART
from tests.release.commands import ended, right, start
from tests.release.trees import files, repository

pytest_plugins = ["tests.stores.ceph"]
pytestmark = pytest.mark.live

PROJECT = (
    '[tool.triton-builder]\ndefault-target = "cpu"\n'
    '[tool.triton-builder.targets.cpu]\ntriton = "24.10"\ndevice = "cpu"\n'
)


@pytest.fixture
def url(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket()}/r"


@pytest.fixture
def dice():
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 2**32))
    print(f"TEST_SEED={seed}")
    return random.Random(seed)  # noqa: S311 - of moments to kill at


def write(root, turn, large=2 * PART):
    """A project whose repository has new versions at each turn: two large files, many small."""
    tree = root / "repository" / "cpu"
    if tree.exists():
        shutil.rmtree(tree)
    new = str(turn)
    fill = random.Random(turn)  # noqa: S311 - of bytes
    repository(
        tree,
        {
            "large": {new: {n: fill.randbytes(large + 10 * turn) for n in ("one", "two")}},
            "small": {new: {f"part{n}": b"%d %d" % (turn, n) * 999 for n in range(30)}},
            "steady": {"1": {"model.onnx": b"always the same"}},
        },
    )
    (root / "pyproject.toml").write_text(PROJECT)
    return tree


def killed(process, seconds):
    """Kills a process after so long; whether it was still at work."""
    time.sleep(seconds)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return alive


def publications_killed(url, dice, folder, kills):
    store = ReleaseStore(url, create=True)
    publish = ("-C", folder, "publish", "--tree", "--channel", "prod", "--store", url)
    folder.mkdir()
    write(folder, 1)
    begin = time.monotonic()
    right(*publish)
    length = time.monotonic() - begin
    turn, done = 1, 0
    while done < kills:
        turn += 1
        tree = write(folder, turn)
        for _ in range(dice.choice([1, 1, 2])):
            done += killed(start(*publish), dice.uniform(0, length))
            released = {layout.release_of(row.path) for row in asyncio.run(store.names())}
            for channel in asyncio.run(store.all_channels()):
                assert {move.release for move in channel.history} <= released
            newest = layout.release_of(asyncio.run(store.names())[-1].path)
            asyncio.run(verify.in_store(store, newest, Trust()))
        release = right(*publish, "--json").json["release"]
        assert release == asyncio.run(store.resolve("prod"))
        asyncio.run(verify.in_store(store, release, Trust()))
        root = f"{layout.tree(release)}/"
        laid = {r.path.removeprefix(root): r.size for r in asyncio.run(store.list(root))}
        assert laid == {name: len(content) for name, content in files(tree).items()}
    for row in asyncio.run(store.names()):
        asyncio.run(verify.in_store(store, layout.release_of(row.path), Trust()))
    right("pull", "prod", folder / "pod", "--store", url)
    assert files(folder / "pod") == files(tree)
    right("gc", "--releases", "--window", "0h", "--store", url)
    right("verify", "prod", "--store", url)


class Watch:
    """Looks at a folder again and again, as a Triton that starts would."""

    def __init__(self, folder, trees):
        self._folder = folder
        self._trees = trees
        self._end = threading.Event()
        self.wrong = []
        self.looks = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _run(self):
        while not self._end.wait(0.002):
            try:
                handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                self.wrong.append("absent")
                continue
            try:
                found = listing(handle)
                if found not in self._trees and same(handle, self._folder):
                    self.wrong.append(found)
                self.looks += 1
            finally:
                os.close(handle)


def listing(handle):
    """Names and sizes of all files below a folder that is open, whatever its name is now."""
    found = {}
    with suppress(FileNotFoundError):
        for folder, _, names, inside in os.fwalk(".", dir_fd=handle):
            for name in names:
                path = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118
                found[path] = os.stat(name, dir_fd=inside).st_size
    return found


def same(handle, folder):
    """Whether a folder that is open still has its name; else it was swapped while we looked."""
    return os.path.samestat(os.fstat(handle), os.stat(folder))  # noqa: PTH116


def pulls_killed(url, dice, folder, kills):
    folder.mkdir()
    releases, trees = [], []
    for turn in (1, 2):
        trees.append(files(write(folder, turn)))
        done = right("-C", folder, "publish", "--store", url, "--json").json
        releases.append(done["release"])
    pod, own = folder / "pod", folder / ".pod.pull"
    begin = time.monotonic()
    right("pull", releases[1], pod, "--store", url)
    length = time.monotonic() - begin
    sizes = [{name: len(content) for name, content in tree.items()} for tree in trees]
    turn = done = 0
    with Watch(pod, sizes) as watch:
        while done < kills:
            turn += 1
            release = releases[turn % 2 - 1]
            pull = ("pull", release, pod, "--store", url)
            shutil.rmtree(own)
            for _ in range(dice.choice([1, 1, 2, 3])):
                done += killed(start(*pull), dice.uniform(0, length))
                assert files(pod) in trees
            ended_well = right(*pull, "--json").json
            assert ended_well["release"] == release
            assert files(pod) == trees[turn % 2 - 1]
    assert watch.wrong == []
    assert watch.looks > kills
    names = {path.name for path in folder.iterdir() if path.name.startswith(".")}
    assert names == {".pod.pull", ".pod.lock"}


def first_pulls_killed(url, dice, folder, kills):
    """Where nothing was before."""
    folder.mkdir()
    tree = files(write(folder, 1))
    release = right("-C", folder, "publish", "--store", url, "--json").json["release"]
    begin = time.monotonic()
    right("pull", release, folder / "clean", "--store", url)
    length = time.monotonic() - begin
    done = turn = 0
    while done < kills:
        turn += 1
        pod = folder / f"pod{turn}"
        pull = ("pull", release, pod, "--cache", folder / f"cache{turn % 2}", "--store", url)
        done += killed(start(*pull), dice.uniform(0, length))
        assert not pod.exists() or files(pod) == tree
        right(*pull)
        assert files(pod) == tree
        if dice.random() < 0.8:  # what is cached takes no time to kill in
            shutil.rmtree(folder / f"cache{turn % 2}")


def collections_killed(url, dice, folder, kills):
    folder.mkdir()
    store = ReleaseStore(url, create=True)
    publish = ("-C", folder, "publish", "--tree", "--store", url, "--json")
    gc = ("gc", "--releases", "--window", "0h", "--store", url)
    write(folder, 1, 1000)
    begin = time.monotonic()
    right(*gc)
    length = 1.5 * (time.monotonic() - begin)
    done, turn = 0, 0
    while done < kills:
        turn += 1
        release = ""
        for number in (3 * turn, 3 * turn + 1, 3 * turn + 2):
            write(folder, number, 1000)
            release = right(*publish).json["release"]
        right("promote", release, "prod", "--store", url)
        done += killed(start(*gc), dice.uniform(0, length))
        for row in asyncio.run(store.names()):
            asyncio.run(verify.in_store(store, layout.release_of(row.path), Trust()))
        asyncio.run(store.delete([layout.COLLECTION]))  # as if ten minutes had gone by
        write(folder, 3 * turn + 1, 1000)
        assert right(*publish).json["release"]  # which may have been dropped, or half of it
        asyncio.run(verify.in_store(store, right(*publish).json["release"], Trust()))
        right(*gc)
        assert release == asyncio.run(store.resolve("prod"))
        asyncio.run(verify.in_store(store, release, Trust()))


WORKS = [publications_killed, pulls_killed, first_pulls_killed, collections_killed]


@pytest.mark.slow
@pytest.mark.parametrize("work", WORKS)
def test_killed_at_a_few_moments(url, dice, tmp_path, work):
    work(url, dice, tmp_path / "project", 2 if work is collections_killed else 5)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("work", WORKS)
def test_killed_at_fifty_moments(url, dice, tmp_path, work):
    work(url, dice, tmp_path / "project", 50)


@pytest.mark.slow
def test_what_a_killed_pull_had_is_not_fetched_again(url, s3, tmp_path):
    """A large file goes on where it was."""
    from tests.stores import faults

    root = tmp_path / "project"
    root.mkdir()
    tree = files(write(root, 1))
    release = right("-C", root, "publish", "--store", url, "--json").json["release"]
    with faults.before(s3.port) as proxy:
        env = {"AWS_ENDPOINT_URL": proxy.endpoint}
        proxy.rate = 20e6
        pull = ("pull", release, tmp_path / "pod", "--store", url, "--json")
        process = start(*pull, env=env)
        place = tmp_path / ".pod.pull" / "blobs"
        deadline = time.monotonic() + 60
        while sum(p.stat().st_size for p in place.rglob("*.partial")) < PART:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.communicate()
        proxy.requests.clear()
        proxy.rate = None
        assert ended(start(*pull, env=env)).code == 0
        parts = [r for r in proxy.requests if "/blobs/" in r]
        large = len(tree["large/1/one"])
        assert len(parts) < len(tree) + 2 * -(-large // PART)
    assert files(tmp_path / "pod") == tree
