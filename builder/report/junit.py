"""The report as JUnit XML: a suite for each version, a case for each check."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from builder.report.contents import BuildReport, ModelReport, VersionReport
    from builder.validation.verdict import Finding

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


def junit(report: BuildReport) -> str:
    """JUnit XML as CI servers read it; versions that were not validated count as skipped."""
    root = ET.Element("testsuites", name=f"triton-builder {report.target}")
    for model, version in report.rows:
        root.append(_suite(report, model, version))
    for name in ("tests", "failures", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in root):.3f}")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(report: BuildReport, model: ModelReport, version: VersionReport) -> ET.Element:
    name = f"{model.name} {version.version}"
    verdict = version.verdict
    findings = verdict.findings if verdict else ()
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(findings) or 1),
        failures=str(sum(not f.passed for f in findings)),
        errors="0",
        skipped=str(int(not findings)),
        time=f"{sum(f.seconds for f in findings):.3f}",
    )
    facts = {
        "target": report.target,
        "release": report.release,
        "server": verdict.server if verdict else "none",
        "number": str(version.number),
        "precision": version.precision or "none",
        "bytes": str(version.size),
        **({"note": version.note} if version.note else {}),
        **{key: f"{value:g}" for key, value in version.latency.items()},
    }
    properties = ET.SubElement(suite, "properties")
    for key, value in facts.items():
        ET.SubElement(properties, "property", name=key, value=_xml(value))
    for finding in findings:
        suite.append(_case(name, finding))
    if not findings:
        case = ET.SubElement(suite, "testcase", name="validation", classname=name, time="0")
        ET.SubElement(case, "skipped", message="not validated")
    return suite


def _case(name: str, finding: Finding) -> ET.Element:
    case = ET.Element("testcase", name=finding.check, classname=name, time=f"{finding.seconds:.3f}")
    if finding.passed:
        ET.SubElement(case, "system-out").text = _xml(f"{finding.figure}: {finding.reason}")
        return case
    failure = ET.SubElement(case, "failure", message=_xml(finding.reason), type=finding.check)
    failure.text = _xml(
        f"{name}: {finding.reason}\nexpected: {finding.expected}\nfound: {finding.found}"
    )
    return case


def _xml(text: str) -> str:
    """Text without the control characters that XML 1.0 cannot hold."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
