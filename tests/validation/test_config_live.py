"""Whether a model is served as it was built."""

from __future__ import annotations

import dataclasses

import pytest

from builder.validation.case import Case
from builder.validation.checks import config, numbers, readiness
from tests.validation.rebuilt import rebuilt
from tests.validation.zoo import QUEUE, TENSORS, subject

pytestmark = pytest.mark.live


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
