"""Whether a request is answered as it is alone, whatever comes with it; and how fast."""

from __future__ import annotations

import pytest

from builder.validation.checks import batching, latency
from tests.validation.rebuilt import rebuilt
from tests.validation.zoo import BATCHING

pytestmark = pytest.mark.live


def test_company_changes_no_answer(sound):
    assert batching.batch(sound).passed
    finding = batching.concurrency(sound)
    assert finding.passed, finding
    assert finding.figures["executions"] < finding.figures["requests"]
    assert finding.figures["largest"] > 1


def test_batch_fails_where_batch_mates_touch_each_other(case, zoo):
    finding = batching.batch(case(zoo.add("leaky", fault="x = x + x.mean(0)")))
    assert not finding.passed
    assert finding.reason == "row 0 of a batch of 8 is answered unlike the row alone"


def test_concurrency_fails_where_one_request_touches_another(case, zoo):
    shared = case(zoo.add("shared", fault="x = x + (rows - 1)", config=BATCHING))
    finding = batching.concurrency(shared)
    assert not finding.passed
    assert "is answered unlike it alone" in finding.reason


def test_concurrency_fails_where_no_batch_forms(case, zoo):
    lone = rebuilt(case(zoo.add("lone")), "instance_group", BATCHING + "instance_group")
    finding = batching.concurrency(lone)
    assert not finding.passed
    assert "formed no batch" in finding.reason
    assert finding.found == f"{finding.figures['requests']:.0f} executions"


def test_without_a_batcher_concurrent_answers_are_still_compared(case, zoo):
    plain = case(zoo.add("plain"))
    assert batching.concurrency(plain).passed


def test_concurrency_fails_where_a_request_is_refused(case, zoo):
    fault = 'if self.calls > 9: return pb_utils.TritonError("tired")'
    finding = batching.concurrency(case(zoo.add("tired", fault=fault)))
    assert not finding.passed
    assert "tired" in finding.found


def test_latency_gives_figures(sound):
    found = latency.figures(sound)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert found["batch_size"] == 8
    assert found["concurrent_per_s"] > 0
