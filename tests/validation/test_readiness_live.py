"""Whether a model is ready when it is said to be, and warm."""

from __future__ import annotations

import time

import pytest

from builder.validation.case import Case
from builder.validation.checks import readiness
from tests.validation.zoo import warmup

pytestmark = pytest.mark.live


def test_ready_after_every_warmup_sample(server, client, zoo):
    described = zoo.add("warmed", config=warmup(1, 4), warmup=(1, 4))
    loading = readiness.load(client, server, described)
    case = Case(server, client, described, described.versions[0])
    finding = readiness.ready(case, loading)
    assert finding.passed, finding
    assert finding.figures["load_s"] > 0
    assert readiness.first_request(case).passed


@pytest.mark.parametrize("late", [-60.0, 60.0])
def test_a_server_s_clock_need_not_be_ours(server, client, zoo, monkeypatch, late):
    described = zoo.add(f"clock_{late > 0:d}", config=warmup(1, 4), warmup=(1, 4))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - late)
    loading = readiness.load(client, server, described)
    finding = readiness.ready(Case(server, client, described, described.versions[0]), loading)
    assert finding.passed, finding


def test_ready_fails_where_a_warmup_sample_never_ran(server, client, zoo):
    described = zoo.add("half_warmed", config=warmup(1), warmup=(1, 4))
    loading = readiness.load(client, server, described)
    finding = readiness.ready(Case(server, client, described, described.versions[0]), loading)
    assert not finding.passed
    assert finding.expected == "runs of batch sizes 1, 4 before the first request"
    assert finding.found == "runs of batch sizes 1"


def test_ready_fails_where_the_endpoint_says_yes_too_early(sound):
    stats = sound.client.statistics("sound", 2)
    early = readiness.Loading(1.0, {2: stats.last_inference - 500.0})
    finding = readiness.ready(sound, early)
    assert not finding.passed
    assert finding.found == "ready 500 ms before it ended"


def test_first_request_fails_where_nothing_warmed_the_model(case, zoo):
    cold = case(zoo.add("cold", fault="if self.calls == 1: time.sleep(1.4)"))
    finding = readiness.first_request(cold)
    assert not finding.passed
    assert finding.figures["first_ms"] > 1400


def test_first_request_passes_where_warmup_took_the_slow_one(case, zoo):
    warm = case(
        zoo.add("slow_start", fault="if self.calls == 1: time.sleep(1.4)", config=warmup(1))
    )
    assert readiness.first_request(warm).passed
