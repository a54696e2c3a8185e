"""The command as the first process of a container, which is nobody's child."""

import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from tests.projects import ECHO_MODEL, TARGET, echo

pytestmark = [pytest.mark.live, pytest.mark.slow]

STARTING = """
    def initialize(self, args):
        import time

        time.sleep(60)
"""
SLOW = ECHO_MODEL.replace("Model:\n", f"Model:{STARTING}\n")


@pytest.fixture
def start(tmp_path, cache, monkeypatch):
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a process number 1 of our own needs root, and unshare")
    own = tmp_path / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(own))
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(TARGET)
    started = []

    def begin(*arguments):
        alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        process = subprocess.Popen(
            [*alone, sys.executable, "-m", "builder", "-C", str(project), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield project, begin
    for process in started:
        process.kill()
        process.communicate()


def test_it_builds_and_proves(installation, start):
    project, begin = start
    echo(project)
    process = begin("build")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "echo 1.0: passed" in err
    assert (project / "repository" / "cpu" / "manifest.json").is_file()


def test_it_ends_when_it_is_told_to(installation, start):
    """The kernel gives process 1 no signal that it has no handler for."""
    project, begin = start
    (echo(project) / "model.py").write_text(SLOW)
    process = begin("build")
    alone = psutil.Process(process.pid)
    until(lambda: any(p.name() == "tritonserver" for p in alone.children(recursive=True)))
    (first,) = alone.children()
    first.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; what was finished is kept" in err
    assert not (project / "repository" / "cpu").exists()


def until(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)
