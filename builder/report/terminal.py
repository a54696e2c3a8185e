"""The report for a terminal: a rich table there, plain lines where nobody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.report.contents import NOTHING, cosine, milliseconds, rate, size

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import Console
    from rich.table import Table

    from builder.report.contents import BuildReport, ModelReport, VersionReport

STYLES = {"passed": "green", "failed": "bold red", "not validated": "yellow"}
MARKS = {"passed": "✓ passed", "failed": "✗ failed", "not validated": "? not validated"}
HEADINGS = ("model", "version", "precision", "size", "cosine", "p50", "p99", "rows/s", "verdict")
NUMBERS = ("size", "cosine", "p50", "p99", "rows/s")
SPARED = ("rows/s", "size", "p99")
"""Columns that a narrow terminal goes without, one after the other; the page has them all."""


def show(report: BuildReport, console: Console) -> None:
    """Prints the table and the failures, or plain lines where the console is no terminal."""
    if not console.is_terminal:
        for line in lines(report):
            console.out(line, highlight=False)
        return
    from rich.text import Text

    if table := _fitting(report, console):
        console.print(table)
    else:
        for line in _versions(report):
            console.print(Text(line))
    for line in _others(report):
        console.print(Text(line, style="dim"))
    for line in failures(report):
        style = "red" if not line.startswith("  ") else ""
        console.print(Text(line, style=style), soft_wrap=True)
    outcome = "failed" if report.failed else "passed"
    if any(v.verdict is None for _, v in report.rows):
        outcome = "failed" if report.failed else "not validated"
    console.print(Text(f"{report.headline}{_asked(report)}", style=STYLES[outcome]))


def _fitting(report: BuildReport, console: Console) -> Table | None:
    """The widest table that the console shows without cutting a figure."""
    from rich.measure import Measurement

    unbound = console.options.update(max_width=10_000)
    for count in range(len(SPARED) + 1):
        table = _table(report, SPARED[:count])
        if Measurement.get(console, unbound, table).maximum <= console.width:
            return table
    return None


def _table(report: BuildReport, without: Collection[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="dim", pad_edge=False)
    shown = [number for number, heading in enumerate(HEADINGS) if heading not in without]
    for heading in (HEADINGS[number] for number in shown):
        table.add_column(heading, justify="right" if heading in NUMBERS else "left", no_wrap=True)
    before = None
    for model, version in report.shown:
        *cells, outcome = _cells(model, version)
        name = Text("" if model.name == before else cells[0], style="bold")
        before = model.name
        mark = Text(MARKS[outcome], style=STYLES[outcome])
        note = Text(f"  {version.note}", style="yellow") if version.note else Text()
        row: tuple[str | Text, ...] = (name, *cells[1:], mark + note)
        table.add_row(*(row[number] for number in shown))
    return table


def lines(report: BuildReport) -> list[str]:
    """The same as plain lines: one a version, then the failures, then the outcome."""
    last = report.headline + _asked(report)
    return [*_versions(report), *_others(report), *failures(report), last]


def _versions(report: BuildReport) -> list[str]:
    found = []
    for model, version in report.shown:
        *cells, outcome = _cells(model, version)
        name, number, *rest = cells
        named = [
            f"{h} {c}" for h, c in zip(HEADINGS[2:], rest, strict=False) if c not in ("", NOTHING)
        ]
        note = f" ({version.note})" if version.note else ""
        found.append(f"{name} {number}: {outcome}{note}: {', '.join(named)}")
    return found


def failures(report: BuildReport) -> list[str]:
    """What failed, check by check: the reason, what was expected and what was found."""
    found = []
    for model, version in report.failed:
        for finding in version.verdict.failures if version.verdict else ():
            head = f"{model.name} {version.version}, check {finding.check}: {finding.reason}"
            found += [head, f"  expected: {finding.expected}", f"  found:    {finding.found}"]
            found += [f"  fix:      {finding.fix}"] if finding.fix else []
    return found


def _others(report: BuildReport) -> list[str]:
    count = len(report.rows) - len(report.shown)
    return [f"and {count} more, as they were"] if count else []


def _asked(report: BuildReport) -> str:
    return f" on {report.server}" if report.server else ""


def _cells(model: ModelReport, version: VersionReport) -> tuple[str, ...]:
    latency = version.latency
    best = max((latency[k] for k in latency if k.endswith("_per_s")), default=None)
    return (
        model.name,
        version.version,
        "ensemble" if model.ensemble else version.precision or model.format,
        "" if model.ensemble else size(version.size),
        cosine(version.agrees.get("cosine")),
        milliseconds(latency.get("p50_ms")),
        milliseconds(latency.get("p99_ms")),
        rate(best),
        version.outcome,
    )
