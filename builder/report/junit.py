"""The report as JUnit XML: a suite for each version, a case for each check.

Written as text: of a thousand versions a tree of elements takes as long as the rest of the report.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.report.contents import BuildReport, ModelReport, VersionReport
    from builder.validation.verdict import Finding

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML 1.0 cannot hold."""

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})
_KEPT = str.maketrans({"\n": "&#10;", "\t": "&#9;"})
"""What would be a space in an attribute."""


def junit(report: BuildReport) -> str:
    """JUnit XML as CI servers read it; versions that were not validated count as skipped."""
    counts = [_counts(version) for _, version in report.rows]
    sums = [sum(count[name] for count in counts) for name in ("tests", "failures", "skipped")]
    total = dict(zip(("tests", "failures", "skipped"), sums, strict=True))
    seconds = sum(f.seconds for f in report.findings)
    lines = ["<?xml version='1.0' encoding='utf-8'?>"]
    name = f"triton-builder {report.target}"
    lines.append(f"<testsuites{_attributes(name=name, **total, time=f'{seconds:.3f}')}>")
    for (model, version), count in zip(report.rows, counts, strict=True):
        lines += _suite(report, model, version, count)
    return "\n".join([*lines, "</testsuites>", ""])


def _counts(version: VersionReport) -> dict[str, int]:
    findings = version.verdict.findings if version.verdict else ()
    failures = sum(not f.passed for f in findings)
    return {"tests": len(findings) or 1, "failures": failures, "skipped": int(not findings)}


def _suite(
    report: BuildReport, model: ModelReport, version: VersionReport, counts: Mapping[str, int]
) -> Iterator[str]:
    name = f"{model.name} {version.version}"
    verdict = version.verdict
    findings = verdict.findings if verdict else ()
    time = f"{sum(f.seconds for f in findings):.3f}"
    yield f"  <testsuite{_attributes(name=name, **counts, errors=0, time=time)}>\n    <properties>"
    facts = {
        "target": report.target,
        "release": report.release,
        "server": verdict.server if verdict else "none",
        "number": version.number,
        "precision": version.precision or "none",
        "bytes": version.size,
        **({"note": version.note} if version.note else {}),
        **{key: f"{value:g}" for key, value in version.latency.items()},
    }
    for key, value in facts.items():
        yield f'      <property name="{key}" value="{_attribute(str(value))}"/>'
    yield "    </properties>"
    for finding in findings:
        yield from _case(name, finding)
    if not findings:
        yield (
            f'    <testcase name="validation" classname="{_attribute(name)}" time="0">\n'
            '      <skipped message="not validated"/>\n    </testcase>'
        )
    yield "  </testsuite>"


def _case(name: str, finding: Finding) -> Iterator[str]:
    time = f"{finding.seconds:.3f}"
    yield f"    <testcase{_attributes(name=finding.check, classname=name, time=time)}>"
    if finding.passed:
        yield f"      <system-out>{_text(f'{finding.figure}: {finding.reason}')}</system-out>"
    else:
        text = f"{name}: {finding.reason}\nexpected: {finding.expected}\nfound: {finding.found}"
        text += f"\nfix: {finding.fix}" if finding.fix else ""
        about = _attributes(message=finding.reason, type=finding.check)
        yield f"      <failure{about}>{_text(text)}</failure>"
    yield "    </testcase>"


def _attributes(**values: object) -> str:
    return "".join([f' {n}="{_attribute(str(value))}"' for n, value in values.items()])


@lru_cache(4096)
def _attribute(text: str) -> str:
    """A value in quotes. Of a thousand versions most say the same."""
    return _text(text).translate(_KEPT)


def _text(text: str) -> str:
    if text.isalnum():
        return text
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text).translate(_ESCAPES)
