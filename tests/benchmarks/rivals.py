"""The graph of a generated project, told to DVC and to GNU make: what a no-op costs there.

Both get it as it stands after a build: outputs are written here, and nothing has to run.
"""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import venv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.store.digests import cache_folder
from tests.benchmarks import generated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DVC = "3.67.1"

ENVIRONMENT = {"DVC_NO_ANALYTICS": "1", "DVC_TEST": "1"}
"""DVC does not phone home."""


@dataclass(frozen=True)
class Stage:
    """One unit of work: files in, one file out, relative to the project."""

    name: str
    reads: tuple[str, ...]
    writes: str

    @property
    def command(self) -> str:
        """Never run in a no-op."""
        folder, reads = self.writes.rpartition("/")[0], " ".join(self.reads)
        return f"mkdir -p {folder} && cat {reads} > {self.writes}"


def stages(count: int) -> Iterator[Stage]:
    """The stages of `generated.project(count)`: goldens, config, and the Python model."""
    for number in range(count):
        name = generated.name(number)
        goldens, config = f"out/{name}/goldens.npy", f"out/{name}/config.pbtxt"
        if generated.is_ensemble(number):
            spec = f"ensembles/{name}/ensemble.yaml"
            sources = [f"models/{m}/source.py" for m in generated.members(number)]
            yield Stage(f"reference-{name}", (spec, *sources), goldens)
            yield Stage(f"config-{name}", (spec,), config)
        else:
            folder = f"models/{name}"
            spec = f"{folder}/model.yaml"
            yield Stage(f"reference-{name}", (spec, f"{folder}/source.py"), goldens)
            yield Stage(f"config-{name}", (spec, goldens), config)
            yield Stage(f"python-{name}", (spec, f"{folder}/model.py"), f"out/{name}/1/model.py")


def write_outputs(root: Path, count: int) -> None:
    """Writes what the stages would."""
    for stage in stages(count):
        path = root / stage.writes
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{stage.name}\n")


def make(root: Path, count: int) -> list[str]:
    """Writes the Makefile; gives the command."""
    rules = [f"{s.writes}: {' '.join(s.reads)}\n\t{s.command}\n" for s in stages(count)]
    targets = " ".join(s.writes for s in stages(count))
    (root / "Makefile").write_text(f"all: {targets}\n\n" + "\n".join(rules))
    return ["make", "-C", str(root), "--no-print-directory", "all"]


def dvc(root: Path, count: int) -> list[str]:
    """Writes dvc.yaml and dvc.lock; gives the command.

    Outputs are left out of DVC's cache, which spares it looking them up there.
    """
    program = str(_dvc() / "bin" / "dvc")
    subprocess.run([program, "init", "--no-scm", "--quiet"], cwd=root, check=True)
    described, locked = {}, {}
    for stage in stages(count):
        described[stage.name] = {
            "cmd": stage.command,
            "deps": list(stage.reads),
            "outs": [{stage.writes: {"cache": False}}],
        }
        locked[stage.name] = {
            "cmd": stage.command,
            "deps": [_seen(root, path) for path in stage.reads],
            "outs": [_seen(root, stage.writes)],
        }
    # JSON is YAML
    (root / "dvc.yaml").write_text(json.dumps({"stages": described}, indent=1))
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": locked}, indent=1))
    return [program, "--cd", str(root), "repro"]


def _seen(root: Path, path: str) -> dict[str, object]:
    content = (root / path).read_bytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"path": path, "hash": "md5", "md5": digest, "size": len(content)}


@functools.cache
def _dvc() -> Path:
    """An environment with DVC in it, made on first use and kept in the cache folder."""
    folder = cache_folder() / "benchmarks" / f"dvc-{DVC}"
    if not (folder / "bin" / "dvc").is_file():
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", f"dvc=={DVC}"], check=True)
    return folder
