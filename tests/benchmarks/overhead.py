"""What engine, store and hashing add to the stages themselves."""

import sys
from pathlib import Path

from tests.benchmarks import encoders
from tests.benchmarks.measure import cost, least
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import SINGLE


def rows(workspace):
    """A build of four encoders by one job, against their stages one after another."""
    root, out = workspace.scratch / "bare", workspace.scratch / "bare-out"
    encoders.project(root, 4)
    script = [sys.executable, str(Path(__file__).with_name("bare_stages.py")), str(root), str(out)]
    bare = least([cost(script, **SINGLE, **workspace.cache()) for _ in range(2)])
    ours = workspace.four(1)
    yield Row("build of four encoders, CPU s (against: bare stages)", ours.cpu, bare.cpu, "≤ 1.05")
    yield Row("the same, s on the clock", ours.wall, bare.wall, "≤ 1.05")
    yield Row("the same, memory of the largest process, MB", ours.memory, bare.memory)
