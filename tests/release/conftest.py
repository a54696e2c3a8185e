"""Two releases of one project, built and proven once for all tests that serve them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.projects import ECHO_MODEL, ECHO_SOURCE, ECHO_SPEC, echo, model
from tests.release import commands

if TYPE_CHECKING:
    from pathlib import Path

    from builder.servers.embedded.install import Installation


@dataclass(frozen=True)
class Project:
    """A project of two models at two moments, each a folder with a proven repository.

    Attributes:
        first: `echo` 1.0, which answers what it is asked, and `steady`.
        second: `echo` 1.1, which adds one, and the same `steady`.
    """

    first: Path
    second: Path


@pytest.fixture(scope="session")
def project(
    installation: Installation, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    folder = tmp_path_factory.mktemp("project")
    own = folder / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    assert installation.tritonserver.exists()
    made = Project(folder / "first", folder / "second")
    echo(made.first)
    echo(made.first, "steady")
    echo(made.second, "steady")
    spec = ECHO_SPEC.replace('"1.0"', '"1.1"')
    source = ECHO_SOURCE.replace('inputs["x"]', 'inputs["x"] + 1')
    moved = model(made.second, "echo", spec, source)
    (moved / "model.py").write_text(ECHO_MODEL.replace(".as_numpy()", ".as_numpy() + 1"))
    for root in (made.first, made.second):
        commands.right("-C", root, "build", env={"TRITON_BUILDER_CACHE": str(own)})
    shutil.rmtree(own)
    return made
