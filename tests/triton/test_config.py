"""config.pbtxt: complete, explicit, checked against NVIDIA's own message."""

import pytest

from builder.errors import InputError
from builder.triton.config import Warmup, check_overrides, model_config, proto, render

BASE = {
    "name": "m",
    "backend": "onnxruntime",
    "max_batch_size": 8,
    "inputs": {"ids": {"dtype": "int64", "shape": ["batch", "sequence"]}},
    "outputs": {"e": {"dtype": "float32", "shape": ["batch", 384]}},
    "versions": [1000000, 1001000],
    "latest": None,
    "batching": {"preferred": [4, 8], "max_queue_delay": 2000, "max_queue_size": 0},
    "timeout_us": 500_000,
    "instances": 1,
    "kind": "KIND_CPU",
    "warmup": [],
    "config": {},
    "where": "models/m/model.yaml config",
}


def text(**changes):
    return render(model_config({**BASE, **changes}))


def parsed(written):
    from google.protobuf import text_format

    return text_format.Parse(written, proto().ModelConfig())


def test_what_is_written_parses_back_to_the_same_message():
    config = model_config(BASE, [Warmup("w", 8, {"ids": ("int64", [16], "ids.bin")})])
    assert parsed(render(config)) == config


def test_a_model_without_a_batch_says_so_in_so_many_words():
    written = text(max_batch_size=0, batching=None, timeout_us=None)
    assert "max_batch_size: 0\n" in written
    assert "dynamic_batching" not in written
    assert "dims: [-1, -1]" in written


def test_the_batch_is_no_part_of_dims():
    assert "dims: [-1]" in text()
    assert "dims: [384]" in text()


def test_a_tensor_without_axes_travels_as_one_element():
    outputs = {"score": {"dtype": "float32", "shape": ["batch"]}}
    assert list(parsed(text(outputs=outputs)).output[0].dims) == [1]
    assert parsed(text(outputs=outputs)).output[0].HasField("reshape")


def test_where_nothing_is_batched_a_scalar_is_not_reshaped():
    outputs = {"score": {"dtype": "float32", "shape": []}}
    found = parsed(text(outputs=outputs, max_batch_size=0)).output[0]
    assert list(found.dims) == [1]
    assert not found.HasField("reshape")  # Triton refuses an empty one


def test_an_ensemble_leaves_reshaping_to_its_members():
    outputs = {"score": {"dtype": "float32", "shape": ["batch"]}}
    step = {"model": "m", "version": 1, "inputs": {"x": "x"}, "outputs": {"score": "score"}}
    found = parsed(text(outputs=outputs, steps=[step])).output[0]
    assert list(found.dims) == [1]
    assert not found.HasField("reshape")


def test_the_policy_names_the_versions():
    assert "versions: [1000000, 1001000]" in text()
    assert "num_versions: 2" in text(latest=2)


def test_the_queue_timeout_rejects():
    policy = parsed(text()).dynamic_batching.default_queue_policy
    assert policy.default_timeout_microseconds == 500_000
    assert policy.allow_timeout_override
    assert policy.timeout_action == proto().ModelQueuePolicy.REJECT


def test_any_other_field_can_be_set():
    config = {
        "parameters": {"intra_op_thread_count": {"string_value": "2"}},
        "response_cache": {"enable": True},
        "dynamic_batching": {"preserve_ordering": True},
        "instance_group": [{"count": 3, "kind": "KIND_CPU"}],
    }
    written = parsed(text(config=config))
    assert written.parameters["intra_op_thread_count"].string_value == "2"
    assert written.response_cache.enable
    assert written.dynamic_batching.preserve_ordering
    assert list(written.dynamic_batching.preferred_batch_size) == [4, 8]
    assert [g.count for g in written.instance_group] == [3]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"max_batch_size": 4}, "decided by `dims.batch.max`"),
        ({"input": []}, "decided by `inputs`"),
        ({"instance_groups": []}, "has no field `instance_groups`"),
        ({"response_cache": {"enabled": True}}, "does not fit ModelConfig"),
        ({"response_cache": {"enable": "perhaps"}}, "does not fit ModelConfig"),
    ],
)
def test_fields_that_cannot_be_set(config, problem):
    with pytest.raises(InputError, match=problem) as caught:
        check_overrides(config, "models/m/model.yaml:3")
    assert caught.value.where == "models/m/model.yaml:3"


def test_an_unknown_field_is_met_with_a_suggestion():
    with pytest.raises(InputError) as caught:
        check_overrides({"instance_groups": []}, "here")
    assert caught.value.fix == "did you mean `instance_group`?"


def test_the_text_is_the_same_every_time():
    assert text() == text()
    assert text().startswith('name: "m"\nbackend: "onnxruntime"\n')


def test_plans_have_a_file_a_capability_and_all_their_profiles():
    plans = {"8.0": "model_cc80.plan", "9.0": "model_cc90.plan"}
    found = parsed(text(backend="tensorrt", kind="KIND_GPU", plans=plans, profiles=3))
    assert (found.backend, found.platform) == ("tensorrt", "tensorrt_plan")
    assert dict(found.cc_model_filenames) == plans
    assert list(found.instance_group[0].profile) == ["0", "1", "2"]
    assert found.default_model_filename not in plans.values()  # no other GPU has a file to load


def test_a_graph_has_neither():
    assert "profile" not in text()
    assert "cc_model_filenames" not in text()
