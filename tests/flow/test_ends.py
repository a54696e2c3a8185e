"""Builds that are interrupted, killed, doubled, or out of room."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from builder.flow.build import Options, build
from builder.flow.context import context
from tests.flow.repositories import repository
from tests.projects import ECHO_SOURCE, echo

pytestmark = pytest.mark.slow


def test_an_interrupt_that_somebody_swallowed_still_stops_the_swap(project):
    echo(project)
    asked = Options(
        jobs=1,
        validate=False,
        say=lambda _: None,
        on_event=lambda _: None,
        interrupted=lambda: True,
    )
    with pytest.raises(KeyboardInterrupt):
        build(context(project, None), asked)
    assert not repository(project).exists()


SLOW = "import time, pathlib\npathlib.Path({mark!r}).touch()\ntime.sleep({seconds})\n"


def slow(project, seconds=30.0):
    mark = project.parent / "started"
    echo(project, source=SLOW.format(mark=str(mark), seconds=seconds) + ECHO_SOURCE)
    return mark


def wait_for(path, seconds=30):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, seconds=2):
    end = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_interrupt_ends_everything_within_two_seconds(project, command, sent, code):
    mark = slow(project)
    process = command("build", "--no-validate")
    wait_for(mark)
    workers = children(process.pid)
    start = time.monotonic()
    process.send_signal(sent)
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - start < 2
    assert process.returncode == code
    assert "interrupted; what was finished is kept" in err
    assert "Traceback" not in err
    assert gone(workers)
    assert not repository(project).exists()


def test_a_killed_build_leaves_no_worker_and_the_next_one_finishes(project, command, built):
    mark = slow(project)
    process = command("build", "--no-validate")
    wait_for(mark)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert gone(workers)
    echo(project)
    assert built().changed


def test_two_builds_at_once_do_each_action_once(project, command):
    mark = slow(project, seconds=1.0)
    first = command("build", "--no-validate", "--json")
    wait_for(mark)
    second = command("build", "--no-validate", "--json")
    one, _ = first.communicate(timeout=60)
    two, err = second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "waiting for it" in err
    assert json.loads(one)["ran"]
    assert json.loads(two)["ran"] == []


def test_a_full_disk_says_so_and_loses_nothing(project, tmp_path, command, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        monkeypatch.setenv("TRITON_BUILDER_CACHE", str(small))
        big = "def files():\n    return {'big': bytes(2_000_000)}\n"
        folder = echo(project, source=big + ECHO_SOURCE)
        spec = folder / "model.yaml"
        spec.write_text(spec.read_text() + "files: source.py:files\n")
        process = command("build", "--no-validate")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "the disk is full" in err
        assert "TRITON_BUILDER_CACHE" in err
        assert "Traceback" not in err
        assert not repository(project).exists()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
