"""A build with nothing to do: over 10, 100 and 1,000 models, against DVC and GNU make."""

import sys

from tests.benchmarks import generated, rivals
from tests.benchmarks.measure import cost, middle
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import build_command

COUNTS = (10, 100, 1000)
HEAVY = {"grpc", "jinja2", "matplotlib", "numpy", "obstore", "onnx", "onnxruntime", "ray"}
HEAVY |= {"torch", "transformers", "tritonclient"}


def rows(workspace):
    """Seconds a build, growth, imports, and the same graph in other hands."""
    seconds = {}
    for count in COUNTS:
        root, cache = workspace.models(count)
        spent = middle(build_command(root), 5, **cache)
        seconds[count] = spent
        target = "≤ 1.5 s" if count == COUNTS[-1] else ""
        yield Row(f"no-op of {count:,} models, s", spent.wall, target=target)
    few, some, many = (seconds[count].cpu for count in COUNTS)
    ours, before = (many - some) / (COUNTS[2] - COUNTS[1]), (some - few) / (COUNTS[1] - COUNTS[0])
    what = "no-op, CPU ms a model from 100 to 1,000 (against: from 10 to 100)"
    yield Row(what, ours * 1000, before * 1000, "≤ 1.25")
    yield Row("no-op, heavy packages imported", len(_imported(workspace) & HEAVY), target="≤ 0")
    yield from _rivals(workspace, seconds[COUNTS[-1]].wall)


def _imported(workspace):
    """The packages that a no-op imports, in any of its processes."""
    root, cache = workspace.models(COUNTS[0])
    command = [sys.executable, "-X", "importtime", *build_command(root)[1:]]
    lines = cost(command, **cache).errors.splitlines()
    names = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    return {name.partition(".")[0] for name in names}


def _rivals(workspace, ours):
    count = COUNTS[-1]
    root = workspace.scratch / "rivals"
    generated.project(root, count)
    rivals.write_outputs(root, count)
    make = middle(rivals.make(root, count), 3)
    yield Row("no-op of 1,000 models, s (against: GNU make)", ours, make.wall)
    dvc = cost(rivals.dvc(root, count), **rivals.ENVIRONMENT)
    if "is up to date" not in dvc.output and "are up to date" not in dvc.output:
        raise RuntimeError(f"DVC did not find all of it done:\n{dvc.output[-2000:]}")
    yield Row("no-op of 1,000 models, s (against: dvc repro)", ours, dvc.wall, "≥ 5", turned=True)
