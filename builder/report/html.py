"""The report as one page that needs nothing but itself."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from builder.report.contents import cosine, milliseconds, rate, size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from builder.report.contents import BuildReport, ModelReport, VersionReport

TEMPLATE = "page.html.j2"


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
        checks=f"{checks} of {len(report.findings)}",
        total=sum(version.size for _, version in report.rows),
        seconds=sum(f.seconds for f in report.findings),
    )


def _plots(report: BuildReport) -> Mapping[str, Markup]:
    """Those plots that have something to show, by name."""
    from builder.report import plots

    rows = report.rows
    sizes = [
        plots.Bar(_label(m, v), v.size, _share(m, v), _series(m, v))
        for m, v in rows
        if v.size and not m.ensemble
    ]
    agreement = [
        plots.Bar(_label(m, v), v.agrees["cosine"], cosine(v.agrees["cosine"]), _series(m, v))
        for m, v in rows
        if "cosine" in v.agrees
    ]
    latency = [
        plots.Span(
            _label(m, v),
            v.latency["p50_ms"],
            v.latency["p99_ms"],
            f"{milliseconds(v.latency['p50_ms'])} / {milliseconds(v.latency['p99_ms'])}",
            _series(m, v),
            v.latency.get("slo_p99_ms"),
        )
        for m, v in rows
        if "p50_ms" in v.latency
    ]
    drawn = {}
    if sizes:
        drawn["sizes"] = plots.bars("Size of each version", sizes)
    if agreement:
        drawn["agreement"] = plots.nearness("Least cosine to the goldens", agreement)
    if latency:
        drawn["latency"] = plots.spans("Latency of lone requests, p50 to p99", latency, "ms")
    return drawn


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
