"""The memory that a worker comes to hold, against an export by hand."""

import sys
from pathlib import Path

from tests.benchmarks import encoders
from tests.benchmarks.measure import cost
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import SINGLE, build

WIDTH = 768
"""170 MB of weights: enough to be seen beside what torch's code itself takes."""


def rows(workspace):
    """The largest process of a build of one encoder."""
    root, out = workspace.scratch / "large", workspace.scratch / "large.onnx"
    encoders.project(root, 1, WIDTH)
    source = root / "models" / "encoder0" / "source.py"
    script = [
        sys.executable,
        str(Path(__file__).with_name("bare_export.py")),
        str(source),
        str(out),
    ]
    bare = cost(script, **SINGLE)
    ours = build(root, workspace.cache(), "--jobs", "1")
    what = "memory of a worker, encoder of 170 MB, MB (against: bare export)"
    yield Row(what, ours.memory, bare.memory, "≤ 1.1")
