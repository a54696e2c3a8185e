"""How long the command takes to say anything at all."""

import sys

from tests.benchmarks.measure import cost, middle
from tests.benchmarks.rows import Row
from tests.benchmarks.workspace import BUILDER

RUNS = 7


def rows(workspace):
    """`--help`, against an interpreter that imports click; and all that a pull imports."""
    cost([*BUILDER, "--help"])
    ours = middle([*BUILDER, "--help"], RUNS)
    bare = middle([sys.executable, "-c", "import click"], RUNS)
    yield Row("start-up, s (against: `import click`)", ours.wall, bare.wall)
    pull = "import builder.cli.main, builder.cli.pull, builder.release.pull, obstore.store"
    slim = middle([sys.executable, "-c", pull], RUNS)
    yield Row("imports of a pull, s", slim.wall, target="≤ 0.3")
