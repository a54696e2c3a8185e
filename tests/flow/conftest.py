import os
import subprocess
import sys

import pytest

from builder.flow.build import Options, build
from builder.flow.context import context


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """A store of the test's own; nothing here starts a server."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(folder))
    return folder


@pytest.fixture
def project(tmp_path, cache_folder):
    root = tmp_path / "project"
    root.mkdir()
    return root


@pytest.fixture
def built(project):
    """Builds the project in this process, without a server; gives the outcome."""

    def run(*names, jobs=1):
        quiet = Options(jobs=jobs, validate=False, say=lambda _: None, on_event=lambda _: None)
        return build(context(project, None, names), quiet)

    return run


@pytest.fixture
def command(project):
    """Starts `triton-builder` in the project, as a user would."""

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
        )

    return start
