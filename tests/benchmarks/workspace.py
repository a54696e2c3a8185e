"""Where benchmarks work: a scratch folder, caches of its own, and projects built once a run."""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from builder.store.digests import cache_folder
from tests.benchmarks import encoders, generated
from tests.benchmarks.measure import Cost, cost, least

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
BUILDER = [sys.executable, "-m", "builder"]
SINGLE = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""What a bare script is given: as many threads as a worker has."""


class Workspace:
    """One run's scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self._caches = 0

    def cache(self) -> dict[str, str]:
        """The environment of a new, empty cache; the server is set up already."""
        self._caches += 1
        folder = self.scratch / f"cache{self._caches}"
        folder.mkdir()
        (folder / "servers").symlink_to(cache_folder() / "servers")
        return {"TRITON_BUILDER_CACHE": str(folder)}

    @functools.cache  # noqa: B019 - a workspace lives as long as the run
    def models(self, count: int) -> tuple[Path, Mapping[str, str]]:
        """A generated project, built, and its cache."""
        root, cache = self.scratch / f"models{count}", self.cache()
        generated.project(root, count)
        build(root, cache)
        return root, cache

    @functools.cache  # noqa: B019 - see above
    def four(self, jobs: int) -> Cost:
        """A cold build of four encoders by so many jobs; the quicker of two."""
        root = self.scratch / f"four{jobs}"
        encoders.project(root, 4)
        options = ("--jobs", str(jobs))
        return least([build(root, self.cache(), *options) for _ in range(2)])

    def shipped(self, name: str) -> Path:
        """A copy of this repository's own project, not built."""
        folder = self.scratch / name
        folder.mkdir()
        for part in ("models", "ensembles"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / "pyproject.toml", folder)
        return folder


def build_command(root: Path, *options: str) -> list[str]:
    """`triton-builder build` without the live server."""
    return [*BUILDER, "-C", str(root), "build", "--no-validate", *options]


def build(root: Path, cache: Mapping[str, str], *options: str) -> Cost:
    """What one build without the live server costs."""
    return cost(build_command(root, *options), **cache)
