"""Builds that are killed at any moment, two at once on one store, end with the right bytes."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from builder.repository import manifest as manifests
from builder.repository import swap
from builder.store.leases import Leases
from tests.projects import ECHO_SOURCE, echo

MODELS = 6
BUILD = [sys.executable, "-m", "builder"]


def write(root, turn):
    """The project as of one turn: half of the models change each time."""
    root.mkdir(exist_ok=True)
    for number in range(MODELS):
        changed = turn if number % 2 == turn % 2 else turn - 1
        source = ECHO_SOURCE.replace("[[1, 2]]", f"[[{changed}, {number}]]")
        echo(root, f"echo{number}", source)


def start(root, cache):
    return subprocess.Popen(
        [*BUILD, "-C", str(root), "build", "--no-validate", "--jobs", "2"],
        env={**os.environ, "TRITON_BUILDER_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def tree(root):
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in (root / "repository" / "cpu").rglob("*")
        if p.is_file()
    }


def whole(root):
    """Whether what lies in the repository is one finished build, old or new; or nothing yet."""
    repository = root / "repository" / "cpu"
    if not repository.exists():
        return True
    manifest = manifests.read(repository)

    def digest(path):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()

    return manifest is not None and swap.differences(repository, manifest, digest) == []


def orphans(cache):
    """Processes that still work for a build in this cache."""
    mine = str(cache)
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TRITON_BUILDER_CACHE") == mine:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def disturb(root, dice):
    """Does something to the spare tree, if there is one: it may be in any state."""
    spare = root / "repository" / ".cpu.spare"
    files = [p for p in spare.rglob("*") if p.is_file()]
    if not files:
        return
    file = dice.choice(files)
    dice.choice(
        [
            file.unlink,
            lambda: shutil.rmtree(file.parent),
            lambda: (file.unlink(), file.write_text("another")),
            lambda: file.rename(file.with_name("moved")),
            lambda: spare.rename(spare.with_name(".cpu.new-half")),
        ]
    )()


def killed_again_and_again(folder, rounds):
    seed = int(os.environ.get("TEST_SEED", time.time_ns() % 2**32))
    print(f"TEST_SEED={seed}")
    dice = random.Random(seed)  # noqa: S311 - of moments to kill at
    cache, roots = folder / "cache", [folder / "one", folder / "two" / "deeper"]
    roots[1].parent.mkdir()
    for root in roots:
        write(root, 0)
    begin = time.monotonic()
    finished(start(roots[0], cache))
    length = time.monotonic() - begin
    kills = turn = 0
    while kills < rounds:
        turn += 1
        for root in roots:
            write(root, turn)
            if dice.random() < 0.5:
                disturb(root, dice)
        builds = [start(root, cache) for root in roots]
        for build in dice.sample(builds, 2):
            time.sleep(dice.uniform(0, length))
            if build.poll() is None:
                kills += 1
            build.send_signal(signal.SIGKILL)
        for build in builds:
            build.communicate()
        for root in roots:
            assert whole(root), f"round {turn}"
    for build in [start(root, cache) for root in roots]:
        finished(build)
    clean = folder / "clean"
    write(clean, turn)
    finished(start(clean, folder / "clean-cache"))
    assert tree(roots[0]) == tree(roots[1]) == tree(clean)
    assert [p for root in roots for p in (root / "repository").glob(".cpu.new-*")] == []
    psutil.wait_procs(orphans(cache), timeout=5)
    assert orphans(cache) == []
    store = cache / "store"
    with Leases(store / "tmp", store / "gate").shut():
        assert Leases(store / "tmp", store / "gate").oldest() is None
    assert list((store / "tmp").iterdir()) == []
    assert "0 of" in plan(roots[0], cache)


def plan(root, cache):
    environment = {**os.environ, "TRITON_BUILDER_CACHE": str(cache)}
    command = [*BUILD, "-C", str(root), "plan"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_killed_builds_end_with_the_bytes_of_a_clean_one(tmp_path):
    killed_again_and_again(tmp_path, rounds=8)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_a_hundred_kills_end_with_the_bytes_of_a_clean_build(tmp_path):
    killed_again_and_again(tmp_path, rounds=100)


@pytest.mark.slow
def test_two_builds_at_once_do_no_action_twice(tmp_path):
    counting = "from pathlib import Path\nimport os, time\n" + ECHO_SOURCE.replace(
        "def samples():",
        "def samples():\n"
        f"    Path({str(tmp_path)!r}, 'ran', f'{{os.getpid()}}-{{time.time_ns()}}').touch()\n"
        "    time.sleep(0.2)",
    )
    (tmp_path / "ran").mkdir()
    roots = [tmp_path / name for name in ("one", "two")]
    for root in roots:
        root.mkdir()
        for number in range(4):
            echo(root, f"echo{number}", counting.replace("[[1, 2]]", f"[[{number}, 2]]"))
    for build in [start(root, tmp_path / "cache") for root in roots]:
        finished(build)
    assert len(list((tmp_path / "ran").iterdir())) == 4
    assert tree(roots[0]) == tree(roots[1])
