"""Each check passes on a sound model, and fails on one with the fault that it is there for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builder.stages.goldens import Golden
from builder.triton import wire
from builder.validation.case import Case
from builder.validation.checks import (
    accuracy,
    batching,
    config,
    data,
    latency,
    leaks,
    memory,
    numbers,
    probe,
    queue,
    readiness,
    requests,
    versions,
)
from builder.validation.client import RefusedError
from builder.validation.probes import DTYPES, identity_config
from builder.validation.subject import AccuracyGate
from tests.validation.zoo import ALL, BATCHING, QUEUE, TENSORS, goldens, subject, warmup

pytestmark = pytest.mark.live


def rebuilt(case: Case, old: str, new: str) -> Case:
    """The same live model, held against a config that was built differently."""
    assert old in case.subject.config
    text = case.subject.config.replace(old, new)
    return dataclasses.replace(case, subject=dataclasses.replace(case.subject, config=text))


# ready, and warm


def test_ready_after_every_warmup_sample(server, client, zoo):
    described = zoo.add("warmed", config=warmup(1, 4), warmup=(1, 4))
    loading = readiness.load(client, server, described)
    case = Case(server, client, described, described.versions[0])
    finding = readiness.ready(case, loading)
    assert finding.passed, finding
    assert finding.figures["load_s"] > 0
    assert readiness.first_request(case).passed


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


# config and metadata


def test_the_served_config_is_the_built_one(sound, case, zoo):
    assert config.served_config(sound).passed
    assert config.served_metadata(sound).passed
    bare = case(zoo.add("bare", config="dynamic_batching {}\n"))
    assert config.served_config(bare).passed


def test_an_onnx_model_is_served_as_it_was_built(server, client, zoo):
    import onnx
    from onnx import TensorProto, helper

    shape = ["batch", 4]
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "X"], ["Y"])],
        "double",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, shape)],
    )
    folder = zoo.root / "double" / "1"
    folder.mkdir(parents=True)
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), folder / "model.onnx")
    text = f'name: "double"\nbackend: "onnxruntime"\n{TENSORS}{QUEUE}'
    (folder.parent / "config.pbtxt").write_text(text)
    described = subject("double", text)
    assert readiness.load(client, server, described).refusal is None
    double = Case(server, client, described, described.versions[0])
    for check in (config.served_config, config.served_metadata, numbers.goldens):
        finding = check(double)
        assert finding.passed, finding


@pytest.mark.parametrize(
    ("served", "built", "path"),
    [
        ("max_batch_size: 8", "max_batch_size: 4", "max_batch_size"),
        ("max_queue_delay_microseconds: 5000", "", "dynamic_batching.max_queue_delay_micro"),
        ("allow_timeout_override: true", "", "default_queue_policy.allow_timeout_override"),
        ("count: 1", "count: 3", "instance_group[0].count"),
        ("preferred_batch_size: 4", "preferred_batch_size: 2", "preferred_batch_size[0]"),
    ],
)
def test_config_fails_on_any_field_that_the_server_changed(sound, served, built, path):
    finding = config.served_config(rebuilt(sound, served, built))
    assert not finding.passed
    assert path in finding.reason


def test_batching_that_the_server_turned_on_by_itself_is_found(sound):
    batching_text = sound.subject.config[sound.subject.config.index("dynamic_batching") :]
    batching_text = batching_text[: batching_text.index("version_policy")]
    finding = config.served_config(rebuilt(sound, batching_text, ""))
    assert not finding.passed
    assert finding.expected.endswith("= not set")


def test_metadata_fails_on_another_dtype(sound):
    finding = config.served_metadata(rebuilt(sound, "TYPE_FP32 dims: 4", "TYPE_FP64 dims: 4"))
    assert not finding.passed
    assert finding.expected == "X: FP64 [-1, 4]"
    assert finding.found == "X: FP32 [-1, 4]"


def test_metadata_fails_where_a_built_version_is_not_served(sound):
    only = dataclasses.replace(sound.subject, versions=sound.subject.versions[1:])
    finding = config.served_metadata(dataclasses.replace(sound, subject=only))
    assert not finding.passed
    assert finding.found == "versions [1, 2]"


# numbers


def test_goldens_agree(sound):
    finding = numbers.goldens(sound)
    assert finding.passed
    assert finding.figures["cosine"] > 0.99999


def test_goldens_fail_on_wrong_numbers(case, zoo):
    finding = numbers.goldens(case(zoo.add("wrong", fault="x = x + np.float32([0, 0, 0, 0.5])")))
    assert not finding.passed
    assert finding.reason.startswith("golden 0 over grpc, output Y: cosine")
    assert "cosine at least 0.9999" in finding.expected


def test_goldens_fail_on_a_dead_stub(case, zoo):
    from builder.validation.client import RefusedError

    with pytest.raises(RefusedError, match=r"[Ss]tub"):
        numbers.goldens(case(zoo.add("dead", fault="os._exit(1)")))


def test_a_version_without_goldens_proves_nothing(sound):
    none = dataclasses.replace(sound.version, goldens=())
    assert not numbers.goldens(dataclasses.replace(sound, version=none)).passed


# company


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


# versions


def test_versions_answer_by_number_and_the_latest_without(sound):
    assert versions.version(sound).passed
    first = dataclasses.replace(sound, version=sound.subject.versions[0])
    assert versions.version(first).passed


def test_version_fails_where_another_one_is_the_default(sound):
    other = dataclasses.replace(sound.subject, default=1)
    finding = versions.version(dataclasses.replace(sound, subject=other))
    assert not finding.passed
    assert finding.reason == "asked for no version, another version answered"
    assert (finding.expected, finding.found) == ("version 1", "version 2")


def test_version_fails_where_a_number_hides_the_numbers_of_another(case, zoo):
    swapped = zoo.add("swapped", fault="return x * 2", config=ALL, versions=(1, 2))
    finding = versions.version(case(swapped))
    assert not finding.passed
    assert "does not hold its numbers" in finding.reason


# probe


def test_the_probe_in_the_tree_is_answered(sound, case, zoo):
    assert probe.probe(sound).passed
    assert probe.probe(case(zoo.add_ensemble("around", "sound"))).passed


def test_probe_fails_on_wrong_numbers(case, zoo):
    finding = probe.probe(case(zoo.add("wrong_numbers", fault="return -x")))
    assert not finding.passed
    assert finding.found.startswith("Y: cosine -1.0")


def test_probe_fails_where_another_version_answers(sound):
    other = dataclasses.replace(sound.version.probe, number=1)
    finding = probe.probe(with_probe(sound, other))
    assert not finding.passed
    assert finding.found == "version 2 answered where 1 was asked"


def test_probe_fails_where_nothing_can_be_read(sound):
    x = wire.Tensor("X", "FP32", (1, 4), bytes(16))
    header, body = wire.request([x], [])  # asks for no output as bytes
    other = dataclasses.replace(sound.version.probe, header=header, body=body)
    finding = probe.probe(with_probe(sound, other))
    assert not finding.passed
    assert "no answer that can be read" in finding.found


def test_a_probe_that_the_server_refuses_is_a_refusal(sound):
    other = dataclasses.replace(sound.version.probe, path="/v2/models/sound/versions/9/infer")
    with pytest.raises(RefusedError, match="unknown model"):
        probe.probe(with_probe(sound, other))


def test_without_a_probe_nothing_is_asked(sound):
    assert probe.probe(with_probe(sound, None)) is None


def with_probe(case: Case, asked) -> Case:
    return dataclasses.replace(case, version=dataclasses.replace(case.version, probe=asked))


# wrong requests


def test_wrong_requests_are_refused_cleanly(sound):
    finding = requests.errors(sound)
    assert finding.passed, finding
    assert finding.figure == "12 wrong requests"


def test_errors_fail_where_an_over_large_batch_is_answered(sound):
    finding = requests.errors(rebuilt(sound, "max_batch_size: 8", "max_batch_size: 4"))
    assert not finding.passed
    assert finding.reason == "batch of 5, 4 allowed over grpc: it was answered"


def test_errors_fail_where_the_answers_after_them_are_wrong(case, zoo):
    broken = case(zoo.add("broken", fault="x = -x"))
    finding = requests.errors(broken)
    assert not finding.passed
    assert "a right one gets a wrong answer" in finding.reason


# the queue


def test_late_requests_are_rejected(sound):
    finding = queue.queue(sound)
    assert finding.passed, finding
    assert finding.figures["rejected"] > 0


def test_queue_fails_where_nothing_is_rejected(case, zoo):
    policy = QUEUE.replace("allow_timeout_override: true", "")
    finding = queue.queue(case(zoo.add("patient", config=policy, timeout_us=5_000_000)))
    assert not finding.passed
    assert finding.found == "every one was served late"


def test_queue_is_not_asked_without_a_timeout(case, zoo):
    assert queue.queue(case(zoo.add("unhurried", config=BATCHING))) is None


# data


def test_data_survives(client):
    finding = data.data(client)
    assert finding.passed, finding
    assert finding.figures["arrays"] > 70


@pytest.mark.parametrize("dtype", ["FP32", "STRING", "BOOL"])
def test_data_fails_on_one_altered_element(client, zoo, dtype):
    """As NumPy 2 does it in the stub of 24.10, only less."""
    name = f"altering_{dtype.lower()}"
    folder = zoo.root / name / "1"
    folder.mkdir(parents=True)
    text = identity_config().replace("builder_probe_identity", name)
    (folder.parent / "config.pbtxt").write_text(text)
    (folder / "model.py").write_text(ALTERING.replace("DTYPE", dtype))
    finding = data.data(client, probe=name)
    assert not finding.passed
    assert finding.reason.startswith(f"{dtype} data is altered")
    assert "instead of" in finding.found


ALTERING = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.back(t) for t in r.inputs()]) for r in requests]

    def back(self, tensor):
        array = tensor.as_numpy().copy()
        if tensor.name() == "DTYPE" and array.size > 1:
            array[1] = array[0]
        return pb_utils.Tensor(tensor.name() + "_BACK", array)
"""


def test_the_probe_has_every_dtype_of_the_spec():
    from typing import get_args

    from builder.spec.tensor import DType

    assert len(DTYPES) == len(get_args(DType))


# accuracy


def gate(top1: float) -> AccuracyGate:
    rows = np.random.default_rng(3).standard_normal((40, 4)).astype(np.float32)
    labels = rows.argmax(axis=1)
    labels[:4] = (labels[:4] + 1) % 4
    return AccuracyGate({"X": rows}, labels, "Y", top1)


@pytest.mark.parametrize(("top1", "passes"), [(0.9, True), (0.91, False)])
def test_accuracy_is_measured_through_the_server(sound, top1, passes):
    gated = dataclasses.replace(sound.version, accuracy=gate(top1))
    finding = accuracy.accuracy(dataclasses.replace(sound, version=gated))
    assert finding.passed is passes
    assert finding.figures["top1"] == 0.9


# memory and figures


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


def test_latency_gives_figures(sound):
    found = latency.figures(sound)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert found["batch_size"] == 8
    assert found["concurrent_per_s"] > 0


# shapes


def test_rows_of_one_number_travel_with_the_dimension_that_triton_wants(server, client, zoo):
    from builder.spec.tensor import Tensor

    described = zoo.add(
        "scalar",
        inputs={"X": Tensor(dtype="float32", shape=("batch",))},
        outputs={"Y": Tensor(dtype="float32", shape=("batch",))},
    )
    text = described.config.replace("dims: 4", "dims: 1")
    (zoo.root / "scalar" / "config.pbtxt").write_text(text)
    flat = tuple(
        Golden({"X": g.inputs["X"][:, 0]}, {"Y": g.outputs["Y"][:, 0]}) for g in goldens(2)
    )
    version = dataclasses.replace(described.versions[0], goldens=flat)
    described = dataclasses.replace(described, config=text, versions=(version,))
    assert readiness.load(client, server, described).refusal is None
    case = Case(server, client, described, version)
    assert numbers.goldens(case).passed
    assert batching.batch(case).passed
    assert requests.errors(case).passed


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
