"""`make bench`: one table of ratios out of one run. `python -m tests.benchmarks no_op` runs one.

It says whether a target is met and fails for none: a busy machine is no defect.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import (
    four_models,
    line,
    memory,
    minilm,
    no_op,
    one_of_many,
    overhead,
    releases,
    start_up,
    warm_remote,
)
from tests.benchmarks.workspace import Workspace

ALL = (
    start_up,
    no_op,
    one_of_many,
    four_models,
    overhead,
    memory,
    minilm,
    warm_remote,
    releases,
    line,
)
BY_NAME = {module.__name__.rpartition(".")[2]: module for module in ALL}


def main():
    parser = argparse.ArgumentParser(prog="tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BY_NAME)}")
    names = parser.parse_args().names or list(BY_NAME)
    unknown = set(names) - set(BY_NAME)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    table = Table(box=None)
    for heading in ("what", "ours", "against", "ratio", "target", ""):
        table.add_column(heading, justify="left" if heading in {"what", ""} else "right")
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace(Path(scratch))
        for name in names:
            for row in BY_NAME[name].rows(workspace):
                ratio = "" if row.ratio is None else f" ({row.ratio:.2f})"
                print(f"{name}: {row.what}: {row.ours:.4g}{ratio}", flush=True)
                table.add_row(*_cells(row))
    Console(width=140).print(table)


def _cells(row):
    met = {None: "", True: "met", False: "missed"}[row.met]
    figures = (row.ours, row.against, row.ratio)
    return (row.what, *("" if f is None else f"{f:.2f}" for f in figures), row.target, met)


if __name__ == "__main__":
    main()
