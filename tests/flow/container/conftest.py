"""A project whose target is served in a container of the test's own engine."""

import subprocess
import sys

import pytest

from tests import projects
from tests.containers import images

TARGET = """
[tool.triton-builder]
default-target = "boxed"
[tool.triton-builder.targets.cpu]
triton = "24.10"
device = "cpu"
[tool.triton-builder.targets.boxed]
triton = "24.10"
device = "cpu"
server = "container"
image = "{image}"
container = {{memory = "4GB", shm-size = "256MB", pids = 1024}}
"""


@pytest.fixture
def image(engine, installation):
    return images.tritonserver(engine, installation)


@pytest.fixture
def project(tmp_path, engine, image, cache, monkeypatch):
    """A project with a store of its own, whose target is served by the test's own engine."""
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    for variable in ("DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "podman")
    own = tmp_path / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(own))
    monkeypatch.setattr(projects, "TARGET", TARGET.format(image=image))
    root = tmp_path / "project"
    root.mkdir()
    return root


@pytest.fixture
def start(project):
    """Starts the command in the project; it is ended with the test."""
    started = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    """Runs the command to its end; its exit code, and what it said."""

    def finish(*arguments):
        process = start(*arguments)
        out, err = process.communicate(timeout=200)
        assert "Traceback" not in err
        return process.returncode, out, err

    return finish
