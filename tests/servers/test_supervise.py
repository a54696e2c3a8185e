"""The supervisor alone, with a shell in the server's place."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from builder.servers.embedded.server import SUPERVISOR
from builder.servers.endings import ending


def order(tmp_path, script, *, grace=0.0, segments="triton-builder-test-none", parent=None):
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    parts = {
        "parent": parent or os.getpid(),
        "command": ["/bin/sh", "-c", script],
        "env": {"PATH": os.defpath},
        "grace": grace,
        "scratch": str(scratch),
        "segments": segments,
    }
    return [sys.executable, "-I", "-S", str(SUPERVISOR), json.dumps(parts)]


def start(command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def below_of(supervisor):
    return psutil.Process(supervisor.pid).children(recursive=True)


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_exit_code_is_the_servers(tmp_path):
    with start(order(tmp_path, "exit 7")) as supervisor:
        assert supervisor.wait(5) == 7


def test_a_crash_is_128_and_the_signal(tmp_path):
    with start(order(tmp_path, "kill -SEGV $$")) as supervisor:
        assert supervisor.wait(5) == 128 + 11


@pytest.mark.parametrize("how", ["stdin closed", "told", "sigterm"])
def test_it_ends_everything_even_what_left_the_process_group(tmp_path, how):
    script = "setsid sleep 100 & (sleep 100 &) ; echo up; sleep 100"
    with start(order(tmp_path, script)) as supervisor:
        supervisor.stdout.readline()
        wait_for(lambda: [p.name() for p in below_of(supervisor)].count("sleep") == 3)
        below = below_of(supervisor)
        if how == "sigterm":
            supervisor.terminate()
        elif how == "told":  # with the pipe still open, as it is where a fork holds its end
            supervisor.stdin.write(b"stop\n")
            supervisor.stdin.flush()
        else:
            supervisor.stdin.close()
        assert supervisor.wait(5) == 128 + 9
        assert not any(process.is_running() for process in below)
    assert not (tmp_path / "scratch").exists()


def test_a_server_is_given_its_grace(tmp_path):
    script = "trap 'echo drained; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    with start(order(tmp_path, script, grace=5)) as supervisor:
        supervisor.stdout.readline()
        supervisor.stdin.close()
        assert supervisor.wait(5) == 0
        assert supervisor.stdout.read() == b"drained\n"


def test_a_server_deaf_to_sigterm_is_killed_after_its_grace(tmp_path):
    script = "trap '' TERM; echo up; while :; do sleep 0.05; done"
    with start(order(tmp_path, script, grace=0.2)) as supervisor:
        supervisor.stdout.readline()
        supervisor.stdin.close()
        assert supervisor.wait(5) == 128 + 9


def test_a_parent_that_is_gone_ends_it_although_the_pipe_stays_open(tmp_path):
    # a forked worker of the parent may hold the pipe's other end
    with start(order(tmp_path, "sleep 100", parent=1)) as supervisor:
        assert supervisor.wait(5) == 128 + 9


def test_shared_memory_of_its_prefix_is_removed_and_other_stays(tmp_path):
    prefix = f"triton-builder-test-{os.getpid()}"
    shared = Path("/dev/shm")  # noqa: S108
    mine, other = shared / f"{prefix}-a", shared / f"x{prefix}"
    for path in (mine, other):
        path.touch()
    try:
        with start(order(tmp_path, "true", segments=prefix)) as supervisor:
            supervisor.wait(5)
        assert not mine.exists()
        assert other.exists()
    finally:
        mine.unlink(missing_ok=True)
        other.unlink()


def test_the_server_dies_with_a_killed_supervisor(tmp_path):
    with start(order(tmp_path, "echo up; exec sleep 100")) as supervisor:
        supervisor.stdout.readline()
        (server,) = psutil.Process(supervisor.pid).children()
        supervisor.kill()
        wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    ("script", "words"),
    [("exit 3", "exit code 3"), ("exit 255", "exit code 255"), ("kill -SEGV $$", "SIGSEGV")],
)
def test_how_the_server_ended_is_told_in_words(tmp_path, script, words):
    with start(order(tmp_path, script)) as supervisor:
        assert ending(supervisor.wait(10)) == words


def test_a_server_may_open_as_many_files_as_the_system_allows(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        supervisor = start(order(tmp_path, "ulimit -n"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told = int(supervisor.stdout.readline())
    supervisor.communicate()
    assert told == (min(hard, 65536) if hard != resource.RLIM_INFINITY else 65536)
