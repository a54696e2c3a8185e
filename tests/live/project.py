"""The shipped project in a folder of its own, built and served as a user would."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def copy(folder: Path) -> Path:
    """Copies what a build reads: specs, sources and settings."""
    folder.mkdir(parents=True)
    for part in ("models", "ensembles"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def start(project: Path, cache: Path, *arguments: str, log: Path, **environment: str):
    """Starts `triton-builder` in a project; everything it says goes to `log`."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TRITON_BUILDER_CACHE": str(cache), **environment},
        )
