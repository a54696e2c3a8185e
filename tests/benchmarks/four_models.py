"""Four similar torch models, none of them built before, by one job and by two."""

from tests.benchmarks.rows import Row


def rows(workspace):
    """Seconds on the clock."""
    one, two = workspace.four(1), workspace.four(2)
    yield Row(
        "cold build of four encoders, 2 jobs, s (against: 1 job)",
        two.wall,
        one.wall,
        "≥ 1.6",
        turned=True,
    )
