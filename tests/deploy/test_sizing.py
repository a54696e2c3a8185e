"""How long a pod may take, and how much it needs, with the reason."""

import json
from dataclasses import replace

import pytest

from builder.deploy import lanes, sizing
from builder.errors import InputError
from builder.report import measured
from builder.report.contents import BuildReport, ModelReport, VersionReport
from builder.report.measured import Measured
from builder.validation.verdict import Finding, Verdict
from tests.deploy.made import TWO, context, release

REPORT = {
    "models": [
        {
            "name": "minilm",
            "versions": [
                {
                    "verdict": {
                        "findings": [
                            {"check": "ready", "figures": {"load_s": 5.5}},
                            {"check": "memory", "figures": {"before_mb": 1.0, "after_mb": 800.0}},
                        ]
                    }
                },
                {"verdict": {"findings": [{"check": "ready", "figures": {"load_s": 5.5}}]}},
                {"verdict": None},
            ],
        }
    ]
}


def _pods(said=None, manifest=TWO):
    found = context(said, manifest=manifest)
    return lanes.pods(manifest, found.settings, found.name)[0], found.settings


def test_a_report_tells_loads_and_memory():
    found = measured.read(json.dumps(REPORT).encode(), "report.json")
    assert found == Measured({"minilm": 5.5}, 800_000_000)


def test_a_build_of_some_models_tells_of_those():
    as_before = Finding("memory", passed=True, figure="as before")
    before = Verdict("a", "1.0", 1, "a server", (as_before,))
    figures = {"after_mb": 500.0, "load_s": 2.0}
    now = Verdict("b", "1.0", 1, "a server", (replace(as_before, figures=figures),))
    models = [ModelReport(v.model, (VersionReport("1.0", 1, verdict=v),)) for v in (before, now)]
    report = BuildReport("cpu", "24.10", tuple(models), manifest="sha256:1")
    assert measured.of(report) == Measured({"b": 2.0}, 500_000_000, manifest="sha256:1")


@pytest.mark.parametrize("text", [b"", b"[]", b'{"models": 1}', b'{"models": [{"name": "a"}]}'])
def test_something_else_is_no_report(text):
    with pytest.raises(InputError, match="not a report"):
        measured.read(text, "report.json")


def test_figures_are_kept_of_what_was_not_measured_again(tmp_path):
    place = tmp_path / measured.file("cpu")
    assert measured.kept(place) == Measured()
    first = Measured({"a": 1.0, "b": 2.0}, 500, {"a": 200, "b": 100}, 50, "sha256:1")
    place.write_bytes(first.encode())
    second = Measured({"b": 3.0, "c": 4.0}, None, {"b": 110, "c": 5}, 40, "sha256:2")
    now = second.over(measured.kept(place))
    held = {"a": 200, "b": 110, "c": 5}
    assert now == Measured({"a": 1.0, "b": 3.0, "c": 4.0}, 500, held, 50, "sha256:2")
    assert measured.read(now.encode(), "cpu.measured.json") == now
    assert Measured({}, 100).over(now).memory == 500  # of fewer models
    assert Measured({}, 900).over(now).memory == 900
    place.write_text("torn {")
    assert measured.kept(place) == Measured()


def test_what_each_model_holds_is_told_by_verdicts(tmp_path):
    memory = {"host_mb": 300.0, "server_mb": 90.5}
    finding = Finding("ready", passed=True, figure="")
    verdict = Verdict("a", "1.0", 1, "a server", (finding,), memory=memory)
    report = BuildReport(
        "cpu", "24.10", (ModelReport("a", (VersionReport("1.0", 1, verdict=verdict),)),)
    )
    assert measured.of(report) == Measured({}, None, {"a": 300_000_000}, 90_500_000)
    told = {
        "models": [{"name": "a", "versions": [{"verdict": {"memory": memory, "findings": []}}]}]
    }
    assert measured.read(json.dumps(told).encode(), "report.json") == measured.of(report)


def test_figures_of_an_earlier_version_are_read():
    text = b'{"loads": {"a": 1.0}, "memory": 500, "manifest": null}'
    assert measured.read(text, "cpu.measured.json") == Measured({"a": 1.0}, 500)


def test_the_budget_is_what_was_measured_with_a_margin_and_a_cold_read():
    pods, settings = _pods()
    found = sizing.startup(pods, settings, Measured({"minilm": 20.0, "resnet50": 10.0}))
    assert found.seconds == 130  # 4 times 30 s, and 190 MB at 50 MB/s
    assert found.reason == "30.0 s measured for 2 models, times 4, and 190 MB read at 50 MB/s"


def test_a_model_that_nobody_measured_is_guessed_and_said_to_be():
    pods, settings = _pods({"volume": "memory"})
    found = sizing.startup(pods, settings, Measured({"minilm": 5.0}))
    assert found.seconds == 80
    assert found.reason == (
        "5.0 s measured for 1 models and 15 s each for 1 models without a measurement, times 4"
    )


def test_the_settings_have_the_last_word():
    pods, settings = _pods({"probing": {"load": "5m"}, "resources": {"memory": "3GiB"}})
    assert sizing.startup(pods, settings, Measured()).seconds == 300
    assert sizing.memory(pods, settings, Measured(memory=10**9)) == 3 * 2**30


def test_memory_follows_the_measurement_and_else_the_files():
    pods, settings = _pods()
    assert sizing.memory(pods, settings, Measured(memory=2**31)) == 3 * 2**30
    assert sizing.memory(pods, settings, Measured()) == pytest.approx(
        2 * 2**30 + 6 * 190_000_000, abs=2**20
    )


def test_a_lane_needs_its_share_of_what_was_measured():
    manifest = release({"minilm": 300, "resnet50": 100})
    said = {"lanes": {"a": {"models": ["minilm"]}, "b": {"models": ["resnet50"]}}}
    pods, settings = _pods(said, manifest)
    assert pods.share == 0.75
    assert sizing.memory(pods, settings, Measured(memory=4 * 2**30)) == 4.5 * 2**30


def test_memory_is_that_of_its_models_where_each_was_measured():
    said = {"lanes": {"a": {"models": ["minilm"]}, "b": {"models": ["resnet50"]}}}
    held = {"minilm": 2 * 2**30, "resnet50": 2**20}
    found = context(said, manifest=TWO)
    text, vision = lanes.pods(TWO, found.settings, found.name)
    seen = Measured({}, 4 * 2**30, held, 2**30)
    assert sizing.memory(text, found.settings, seen) == 4.5 * 2**30
    assert sizing.memory(vision, found.settings, seen) == pytest.approx(1.5 * 2**30, abs=2**21)
    part = Measured({}, 4 * 2**30, {"minilm": 1}, 2**30)  # not of the other: by its share then
    assert sizing.memory(vision, found.settings, part) == pytest.approx(
        max(2**30, 4 * 2**30 * vision.share) * 1.5, abs=2**20
    )
