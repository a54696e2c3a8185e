"""The report as one page that needs nothing but itself."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from builder.report.contents import NOTHING, cosine, held, milliseconds, rate, size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from markupsafe import Markup

    from builder.report.contents import BuildReport, ModelReport, VersionReport
    from builder.report.plots import Span

    Row = tuple[ModelReport, VersionReport]

TEMPLATE = "page.html.j2"

DRAWN = 60
"""Rows of a plot at most; what is drawn of a thousand is what somebody would look for."""


def page(report: BuildReport) -> str:
    """The whole page, failures first; nothing in it is fetched from anywhere."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "size": size,
        "ms": milliseconds,
        "rate": rate,
        "cosine": cosine,
    }
    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    checks = sum(f.passed for f in report.findings)
    return environment.from_string(text).render(
        report=report,
        plots=_plots(report),
        rows=_rows(report),
        checks=f"{checks} of {len(report.findings)}",
        total=sum(version.size for _, version in report.rows),
        seconds=sum(f.seconds for f in report.findings),
    )


def _rows(report: BuildReport) -> Markup:
    """The table's rows. Not in the template: of a thousand they would take most of its time."""
    from markupsafe import Markup, escape

    rows, before = [], ""
    for model, version in report.rows:
        latency, outcome = version.latency, version.outcome
        made = "ensemble" if model.ensemble else version.precision or model.format
        note = f' <span class="pill note">{escape(version.note)}</span>' if version.note else ""
        figures = (
            NOTHING if model.ensemble else size(version.size),
            held(version.memory) if model.name != before else "",
            cosine(version.agrees.get("cosine")),
            milliseconds(latency.get("p50_ms")),
            milliseconds(latency.get("p99_ms")),
            *(rate(latency.get(f"{way}_per_s")) for way in ("alone", "concurrent", "batch")),
        )
        cells = "".join([f'<td class="n">{figure}</td>' for figure in figures])
        rows.append(
            f"<tr><td>{'' if model.name == before else escape(model.name)}</td>"
            f"<td>{escape(version.version)}</td>"
            f'<td><span class="pill {outcome.replace(" ", "-")}">{outcome}</span></td>'
            f"<td>{escape(made)}{note}</td>{cells}</tr>"
        )
        before = model.name
    return Markup("\n    ".join(rows))  # noqa: S704 - each text in it was escaped


def _plots(report: BuildReport) -> Mapping[str, Markup]:
    """Those plots that have something to show, by name."""
    from builder.report import plots

    drawn = {}
    sized = [(m, v) for m, v in report.rows if v.size and not m.ensemble]
    if sized:
        some, which = _most(sized, lambda v: -v.size, "largest")
        bars = [plots.Bar(_label(m, v), v.size, _share(m, v), _series(m, v)) for m, v in some]
        drawn["sizes"] = plots.bars(f"Size of each version{which}", bars)
    agreeing = [(m, v) for m, v in report.rows if "cosine" in v.agrees]
    if agreeing:
        some, which = _most(agreeing, lambda v: v.agrees["cosine"], "least")
        bars = [
            plots.Bar(_label(m, v), v.agrees["cosine"], cosine(v.agrees["cosine"]), _series(m, v))
            for m, v in some
        ]
        drawn["agreement"] = plots.nearness(f"Least cosine to the goldens{which}", bars)
    timed = [(m, v) for m, v in report.rows if "p50_ms" in v.latency]
    if timed:
        some, which = _most(timed, lambda v: -v.latency["p99_ms"], "slowest")
        title = f"Latency of lone requests, p50 to p99{which}"
        drawn["latency"] = plots.spans(title, [_span(m, v) for m, v in some], "ms")
    return drawn


def _most(
    rows: Sequence[Row], order: Callable[[VersionReport], float], word: str
) -> tuple[Sequence[Row], str]:
    """The rows that a plot has room for, in their own order, and what the title says of them."""
    if len(rows) <= DRAWN:
        return rows, ""
    chosen = {id(version) for _, version in sorted(rows, key=lambda row: order(row[1]))[:DRAWN]}
    some = [row for row in rows if id(row[1]) in chosen]
    return some, f", the {DRAWN} {word} of {len(rows)}"


def _span(model: ModelReport, version: VersionReport) -> Span:
    from builder.report import plots

    low, high = version.latency["p50_ms"], version.latency["p99_ms"]
    text = f"{milliseconds(low)} / {milliseconds(high)}"
    slo = version.slo_p99_ms
    return plots.Span(_label(model, version), low, high, text, _series(model, version), slo)


def _label(model: ModelReport, version: VersionReport) -> str:
    return f"{model.name} {version.version}"


def _series(model: ModelReport, version: VersionReport) -> str:
    return "ensemble" if model.ensemble else version.precision or "code"


def _share(model: ModelReport, version: VersionReport) -> str:
    """A size, and what share of the model's fp32 version it is."""
    full = next((v.size for v in model.versions if v.precision == "fp32" and v.size), None)
    text = size(version.size)
    if full is None or version.precision in ("fp32", None):
        return text
    return f"{text}, {version.size / full:.0%} of fp32"
