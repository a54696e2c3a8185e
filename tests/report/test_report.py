"""The report in its four forms."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from builder.report.contents import (
    NOTHING,
    BuildReport,
    ModelReport,
    VersionReport,
    cosine,
    held,
    size,
)
from builder.report.html import page
from builder.report.junit import junit
from builder.report.plots import Scale
from builder.report.terminal import lines, show
from builder.validation.verdict import Verdict, failed
from tests.report.reports import report


def test_the_headline_counts_what_failed_and_what_was_not_asked():
    assert report().headline == "1 of 6 versions failed"
    assert report(failing=False).headline == "All 6 versions passed"
    unasked = BuildReport("cpu", "24.10", (ModelReport("m", (VersionReport("1", 1),)),))
    assert unasked.headline == "1 of 1 version not validated"


def test_json_holds_values_and_outcomes():
    document = json.loads(json.dumps(report().as_json()))
    versions = document["models"][2]["versions"]
    assert [v["outcome"] for v in versions] == ["passed", "failed"]
    assert versions[1]["verdict"]["findings"][2]["expected"].startswith("the lone answer")


# junit


def parsed(made: BuildReport) -> ET.Element:
    return ET.fromstring(junit(made))


def test_junit_has_a_suite_a_version_and_a_case_a_check():
    root = parsed(report())
    assert root.get("tests") == "13"
    assert root.get("failures") == "1"
    suite = root.find("testsuite[@name='resnet50 1.1']")
    assert [case.get("name") for case in suite.findall("testcase")] == ["ready", "goldens", "batch"]
    failure = suite.find("testcase[@name='batch']/failure")
    assert failure.get("message") == "row 3 of a batch of 8 is answered unlike the row alone"
    assert "expected: the lone answer" in failure.text
    assert "found: sentence_embedding: cosine 0.41" in failure.text


def test_junit_names_server_and_figures_as_properties():
    suite = parsed(report()).find("testsuite[@name='minilm 1.1']")
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["server"] == "tritonserver 2.51.0 (24.10), embedded"
    assert properties["number"] == "1001000"
    assert properties["p99_ms"] == "4.4"


def test_junit_skips_what_was_not_validated_and_survives_control_characters():
    version = VersionReport("1", 1, note="bell \x07")
    unasked = BuildReport("cpu", "24.10", (ModelReport("m", (version,)),))
    suite = parsed(unasked).find("testsuite")
    assert suite.get("skipped") == "1"
    assert suite.find("testcase/skipped") is not None
    assert suite.find("properties/property[@name='note']").get("value") == "bell \ufffd"


@given(st.text(st.characters(codec=None), max_size=20))
def test_junit_keeps_every_text_that_xml_can_hold(text):
    bad = failed("check", text, expected=text, found=text)
    verdict = Verdict("m", "1", 1, text, (bad,), {})
    made = BuildReport("cpu", text, (ModelReport(text, (VersionReport("1", 1, verdict=verdict),)),))
    root = ET.fromstring(junit(made).encode())
    sound = re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)
    failure = root.find("testsuite/testcase/failure")
    assert failure.get("message") == sound
    assert failure.text == f"{sound} 1: {sound}\nexpected: {sound}\nfound: {sound}"
    assert root.find("testsuite").get("name") == f"{sound} 1"


# html


class Links(HTMLParser):
    """Everything that a browser would fetch, and every tag that is open at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.fetched += [v for k, v in attrs if k in {"src", "href", "data", "action"}]
        if tag not in {"meta", "rect", "line", "circle"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("failing", [True, False])
def test_the_page_is_well_formed_and_fetches_nothing(failing):
    text = page(report(failing=failing))
    parser = Links()
    parser.feed(text)
    assert parser.open == []
    assert parser.fetched == []
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_tells_failures_first_and_escapes_them():
    text = page(report())
    assert text.index("What failed") < text.index("What was built")
    assert "&amp; &#34;quotes&#34; &lt;b&gt;" in text
    assert "What failed" not in page(report(failing=False))


def test_the_page_says_what_a_user_must_know():
    text = page(report())
    assert "untrained weights" in text
    assert "25% of fp32" in text
    assert text.count("<svg") == 3


def many(touched):
    """Of forty versions, one failed and two were touched."""
    found = [ModelReport(f"m{n}", (VersionReport("1", 1),)) for n in range(37)]
    return dataclasses.replace(
        report(), models=(*report().models[-2:], *found), touched=frozenset(touched)
    )


def test_a_page_of_many_versions_tells_of_those_that_were_touched_or_failed():
    made = many({"m3", "m5"})
    text = page(made)
    assert text.count("<details") == len(made.shown) == 3
    assert f"{len(made.rows) - 3} more are as they were" in text
    assert all(f"<td>{model.name}</td>" in text for model in made.models)
    assert page(dataclasses.replace(made, touched=None)).count("<details") == len(made.rows)


def test_a_page_of_nothing_validated_has_no_empty_plots():
    unasked = BuildReport("cpu", "24.10", (ModelReport("m", (VersionReport("1", 1),)),))
    text = page(unasked)
    assert "<svg" not in text
    assert "No live server was asked" in text


# terminal


def test_a_pipe_gets_plain_lines():
    stream = io.StringIO()
    show(report(), Console(file=stream, width=40))
    text = stream.getvalue()
    assert text.splitlines() == lines(report())
    assert "\x1b" not in text
    assert "resnet50 1.1: failed (untrained weights): int8, size" not in text
    assert text.splitlines()[1].startswith("minilm 1.1: passed: precision int8, size 22.9 MB")
    assert text.splitlines()[-1].startswith("1 of 6 versions failed on tritonserver")


def test_a_terminal_gets_a_table_and_the_failures_below():
    stream = io.StringIO()
    show(report(), Console(file=stream, width=140, force_terminal=True, color_system=None))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "✗ failed" in plain
    assert "resnet50 1.1, check batch: row 3 of a batch of 8" in plain
    assert plain.index("verdict") < plain.index("check batch")


@pytest.mark.parametrize("width", [30, 60, 80, 100, 120, 140])
def test_a_terminal_cuts_no_figure(width):
    stream = io.StringIO()
    show(report(), Console(file=stream, width=width, force_terminal=True, color_system=None))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert "\N{HORIZONTAL ELLIPSIS}" not in plain
    for _, version in report().rows:
        assert cosine(version.agrees.get("cosine")) in plain


# figures


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 B"), (22_900_000, "22.9 MB"), (102_000_000, "102 MB")]
)
def test_sizes_read_well(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (0.41, "0.4100"), (0.98123456, "0.9812"), (0.99951, "0.99951"), (None, "\u2013")],
)
def test_cosines_keep_the_digits_that_tell(value, text):
    assert cosine(value) == text


def test_a_scale_spans_whole_powers_of_ten():
    scale = Scale.around([3.0, 61.0])
    assert scale.ticks() == [1.0, 10.0, 100.0]
    assert scale.place(10.0) == pytest.approx(0.5)
    assert Scale.around([]).ticks() == [1.0, 10.0]


def test_a_report_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        report().target = "gpu"


# memory, and what to do


def of_one(**changed) -> BuildReport:
    """A report on one model with two versions, whose load has one figure."""
    finding = failed("ready", "no GPU", expected="a GPU", found="none", fix="give it <one>")
    versions = tuple(
        VersionReport(
            f"{n}.0", n, verdict=Verdict("m", f"{n}.0", n, "a server", (finding,), **changed)
        )
        for n in (1, 2)
    )
    return BuildReport("gpu", "24.10", (ModelReport("m", versions),))


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        ({"host_mb": 411.6}, "412 MB"),
        ({"host_mb": 2616.0, "gpu_mb": 812.3}, "2.6 GB, GPU 812 MB"),
        ({"gpu_mb": 1200.0}, "GPU 1.2 GB"),
        ({"host_mb": -0.4}, "0 B"),
        ({}, NOTHING),
    ],
)
def test_what_a_load_has_added_is_said_in_bytes(memory, said):
    assert held(memory) == said


def test_what_a_load_has_added_stands_once_a_model():
    text = page(of_one(memory={"host_mb": 411.6, "gpu_mb": 812.3}))
    assert text.count('<td class="n">412 MB, GPU 812 MB</td>') == 1


def test_what_to_do_about_a_failure_is_in_every_form():
    made = of_one()
    assert "  fix:      give it <one>" in lines(made)
    assert "give it &lt;one&gt;" in page(made)
    assert "fix: give it <one>" in parsed(made).find(".//failure").text
    assert made.as_json()["models"][0]["versions"][0]["verdict"]["findings"][0]["fix"]
