"""What requests and loads leave behind."""

from __future__ import annotations

import pytest

from builder.validation.checks import leaks, memory
from tests.validation.zoo import warmup

pytestmark = pytest.mark.live


def test_memory_is_steady(sound):
    finding = memory.memory(sound)
    assert finding.passed, finding
    assert finding.figures["requests"] >= 16


def test_memory_fails_where_every_request_leaves_something(case, zoo):
    leaking = case(zoo.add("leaking", fault="self.kept.append(np.ones(1_000_000, np.uint8))"))
    finding = memory.memory(leaking)
    assert not finding.passed
    assert "kB a request" in finding.found


def test_memory_passes_where_a_pool_grows_once(case, zoo):
    fault = "self.kept or self.kept.append(np.ones(150_000_000, np.uint8))"
    assert memory.memory(case(zoo.add("pooling", fault=fault))).passed


# loading and unloading

ORPHAN = """import subprocess; subprocess.Popen(
            ["python3", "-c", "import time; kept = bytearray(24_000_000); time.sleep(600)"],
            start_new_session=True,
        )"""
"""A process that outlives the model which started it, as pools of workers do."""


def test_a_model_that_leaves_something_with_every_load_leaks(server, client, zoo):
    described = zoo.add("orphaning", start=ORPHAN)
    client.load("orphaning")
    finding = leaks.leaks(server, client, described)
    assert not finding.passed
    assert finding.reason.startswith("the server's memory grew with every load")
    assert "MB a load, in each of 3 rounds" in finding.found
    assert finding.expected == "at most 4.2 MB a load left behind"
    assert finding.figures["loads"] == 6


def test_a_model_that_is_gone_when_it_is_unloaded_does_not_leak(server, client, zoo):
    start = "self.kept.append(np.ones(100_000_000, np.uint8))"
    described = zoo.add("tidy", start=start, config=warmup(1))
    client.load("tidy")
    finding = leaks.leaks(server, client, described)
    assert finding.passed, finding
    assert finding.figures["loads"] == 2
    assert not client.ready("tidy", 1)


def test_where_nobody_can_tell_what_a_server_holds_no_leaks_are_found(
    server, client, zoo, monkeypatch
):
    monkeypatch.setattr(server, "memory", lambda: 0)
    described = zoo.add("unseen")
    client.load("unseen")
    assert leaks.leaks(server, client, described) is None
