"""minilm 1.0 and 1.1 without the live server, against a script that does it by hand."""

import sys
from pathlib import Path

from tests.benchmarks.measure import cost
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import BUILDER, SINGLE


def rows(workspace):
    """CPU, clock and memory of a cold build."""
    out = workspace.scratch / "bare-minilm"
    out.mkdir()
    script = [sys.executable, str(Path(__file__).with_name("bare_minilm.py")), str(out)]
    bare = cost(script, **SINGLE, HF_HUB_OFFLINE="1")
    project = workspace.shipped("minilm")
    command = [*BUILDER, "-C", str(project), "build", "minilm", "--no-validate"]
    ours = cost(command, **workspace.cache())
    yield Row(
        "cold build of minilm, CPU s (against: a script by hand)", ours.cpu, bare.cpu, "≤ 1.3"
    )
    yield Row("the same, s on the clock", ours.wall, bare.wall)
    yield Row("the same, memory of the largest process, MB", ours.memory, bare.memory)
