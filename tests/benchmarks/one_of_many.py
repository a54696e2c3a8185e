"""One byte changed in one of 1,000 models: that model alone is built."""

from __future__ import annotations

from tests.benchmarks import generated
from tests.benchmarks.measure import median, middle
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import build, build_command, built

COUNT, NUMBER, RUNS = 1000, 500, 3


def rows(workspace):
    """Seconds, against a no-op and the model's own time, which a project of it alone shows."""
    many, cache = workspace.models(COUNT)
    changed = _changed(many, cache)
    idle = middle(build_command(many), RUNS, **cache).wall
    alone, its_cache = workspace.scratch / "alone", workspace.cache()
    generated.write_model(alone, NUMBER)
    build(alone, its_cache)
    own = _changed(alone, its_cache) - middle(build_command(alone), RUNS, **its_cache).wall
    what = f"one of {COUNT:,} models changed, s (against: no-op {idle:.2f} + its own {own:.2f})"
    yield Row(what, changed, idle + own, "≤ 1")


def _changed(root, cache):
    """Seconds of a build after a change of one byte."""
    spent = []
    for _ in range(RUNS):
        name = generated.change(root, NUMBER)
        cost, ran = built(root, cache)
        if ran != [f"python {name}"]:
            raise RuntimeError(f"one byte of {name} changed, and these ran: {ran}")
        spent.append(cost)
    return median(spent).wall
