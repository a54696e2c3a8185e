"""`make bench`: start-up, the no-op build, and a cold build against a script by hand."""

import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from builder.engine.digests import cache_folder
from tests.benchmarks.measure import cost, median

ROOT = Path(__file__).parents[2]
BUILDER = [sys.executable, "-m", "builder"]
RUNS = 3


def cold_build(scratch):
    """minilm 1.0 and 1.1 without the live server, against the bare script; CPU seconds."""
    bare, ours = [], []
    for run in range(RUNS):
        out = scratch / f"bare{run}"
        out.mkdir()
        script = [sys.executable, str(Path(__file__).with_name("bare_minilm.py")), str(out)]
        bare.append(cost(script, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1"))
        project = copy_of_project(scratch / f"project{run}")
        cache = scratch / f"cache{run}"
        cache.mkdir()
        (cache / "servers").symlink_to(cache_folder() / "servers")  # set-up is not the build
        command = [*BUILDER, "-C", str(project), "build", "minilm", "--no-validate"]
        ours.append(cost(command, TRITON_BUILDER_CACHE=str(cache)))
    return median(bare), median(ours)


def copy_of_project(folder):
    folder.mkdir()
    for name in ("models", "ensembles"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def no_op():
    """A build of this project that has nothing to do."""
    command = [*BUILDER, "-C", str(ROOT), "build"]
    cost(command)
    return median([cost(command) for _ in range(7)])


def main():
    table = Table(box=None)
    for heading in ("what", "ours", "against", "ratio", "target"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    start = median([cost([*BUILDER, "--help"]) for _ in range(7)])
    bare_start = median([cost([sys.executable, "-c", "import click"]) for _ in range(7)])
    idle = no_op()
    with tempfile.TemporaryDirectory() as name:
        bare, ours = cold_build(Path(name))
    rows = [
        ("start-up, s (against `import click`)", start.wall, bare_start.wall, ""),
        ("no-op build of this project, s", idle.wall, bare_start.wall, "0.5 s"),
        ("cold build of minilm 1.0 + 1.1, CPU s (against a script)", ours.cpu, bare.cpu, "1.3"),
        ("the same, clock s", ours.wall, bare.wall, ""),
        ("the same, memory of the largest process, MB", ours.memory, bare.memory, ""),
    ]
    for what, one, other, target in rows:
        table.add_row(what, f"{one:.2f}", f"{other:.2f}", f"{one / other:.2f}", target)
    Console().print(table)


if __name__ == "__main__":
    main()
