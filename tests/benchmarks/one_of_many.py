"""One byte changed in one of 1,000 models: that model alone is built."""

from __future__ import annotations

import re

from tests.benchmarks import generated
from tests.benchmarks.measure import cost, least
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import build, build_command

COUNT, NUMBER, RUNS = 1000, 500, 5
DONE = re.compile(r"^\[.*?\] (.+): done in", re.MULTILINE)


def rows(workspace):
    """Seconds, against a no-op and the model's own time, which a project of it alone shows."""
    many, cache = workspace.models(COUNT)
    alone, its_cache = workspace.scratch / "alone", workspace.cache()
    generated.write_model(alone, NUMBER)
    build(alone, its_cache)
    runs = [(*_pair(many, cache), *_pair(alone, its_cache)) for _ in range(RUNS)]
    idle, changed, its_idle, its_changed = (least(costs).wall for costs in zip(*runs, strict=True))
    own = its_changed - its_idle
    what = f"one of {COUNT:,} models changed, s (against: no-op {idle:.2f} + its own {own:.2f})"
    yield Row(what, changed, idle + own, "≤ 1")


def _pair(root, cache):
    """What a build costs after no change, and after one of one byte."""
    idle = cost(build_command(root), **cache)
    name = generated.change(root, NUMBER)
    changed = cost(build_command(root), **cache)
    ran = DONE.findall(changed.errors)
    if ran != [f"python {name}"] or DONE.findall(idle.errors):
        raise RuntimeError(f"one byte of {name} changed, and these ran: {ran}")
    return idle, changed
