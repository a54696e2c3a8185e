"""The trace is what Chrome's tracing and Perfetto read."""

import json

from builder.engine.run import Event
from builder.engine.trace import Trace


def written(trace, folder):
    trace.write(folder / "trace.json")
    return json.loads((folder / "trace.json").read_text())["traceEvents"]


def named(events, kind):
    return {e["name"]: e for e in events if e["ph"] == kind}


def test_an_action_is_a_span_in_its_worker_s_lane(tmp_path):
    trace = Trace()
    trace.on_event(Event("start", "export m", reason="never built", lane="worker 1"))
    trace.on_event(Event("done", "export m", memory=2_000_000, lane="worker 1"))
    events = written(trace, tmp_path)
    span = named(events, "X")["export m"]
    lanes = {e["args"]["name"]: e["tid"] for e in events if e["ph"] == "M"}
    assert span["tid"] == lanes["worker 1"] != lanes["build"]
    assert span["dur"] >= 0
    assert span["cat"] == "export"
    assert span["args"] == {"result": "done", "why": "never built", "memory, MB": 2}


def test_what_was_running_when_it_ended_is_there_too(tmp_path):
    trace = Trace()
    trace.on_event(Event("start", "export m", lane="worker 1"))
    span = named(written(trace, tmp_path), "X")["export m"]
    assert span["args"]["result"] == "interrupted"


def test_phases_hits_and_failures_are_told_apart(tmp_path):
    trace = Trace()
    with trace.phase("plan"):
        trace.on_event(Event("hit", "reference m"))
    trace.on_event(Event("start", "export m", lane="worker 2"))
    trace.on_event(Event("fail", "export m", reason="it broke"))
    events = written(trace, tmp_path)
    assert set(named(events, "X")) == {"plan", "export m"}
    assert named(events, "X")["export m"]["args"]["error"] == "it broke"
    assert "hit reference m" in named(events, "i")
    assert [e["args"]["actions"] for e in events if e["ph"] == "C"] == [1, 0]
