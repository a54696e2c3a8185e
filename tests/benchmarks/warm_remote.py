"""The shipped models on a fresh machine whose remote cache another machine has filled."""

import json
import sys

from tests.benchmarks.measure import cost
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import BUILDER


def rows(workspace):
    """Seconds on the clock, verdicts of the live server included; and no torch."""
    root = workspace.shipped("shipped")
    remote = workspace.scratch / "remote"
    remote.mkdir()
    environment = {"TRITON_BUILDER_REMOTE_CACHE": remote.as_uri()}
    command = [*BUILDER, "-C", str(root), "build"]
    cold = cost(command, **workspace.cache(), **environment)
    root = workspace.shipped("shipped-elsewhere")
    command = [*BUILDER, "-C", str(root), "build"]
    warm = cost(command, **workspace.cache(), **environment)
    what = "warm remote cache (file://), build of the shipped models, s (against: cold)"
    yield Row(what, warm.wall, cold.wall, "≥ 10", turned=True)
    root = workspace.shipped("shipped-again")
    watched = [sys.executable, "-X", "importtime", *BUILDER[1:], "-C", str(root), "build"]
    told = cost([*watched, "--json"], **workspace.cache(), **environment)
    said = json.loads(told.output)
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in told.errors.splitlines()}
    yield Row("the same, imports of torch", int("torch" in names), target="≤ 0")
    yield Row("the same, actions that ran", len(said["ran"]), target="≤ 0")
