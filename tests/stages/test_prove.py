import os
import stat
from dataclasses import replace

import numpy as np
import pytest

from builder.errors import MissingError, WorkFailedError
from builder.stages import artifact, goldens, prove
from builder.stages.goldens import Golden
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, xs


def layer_job(tmp_path, samples=None, **params):
    return graphs.job(
        tmp_path, graphs.layer(), X, Y, samples or xs(), **{"precision": "fp32", **params}
    )


def test_a_sound_model_is_proven_and_nothing_is_written(tmp_path):
    job = layer_job(tmp_path)
    facts = prove.run(job)
    assert facts["agreement"]["y"]["cosine_min"] == pytest.approx(1.0)
    assert facts["samples"] == 8
    assert facts["batches"] == 1
    assert not list(job.out.iterdir())


def test_samples_of_unlike_shapes_still_prove_a_batch(tmp_path):
    inputs = {"x": {"dtype": "float32", "shape": ["batch", "sequence", 32]}}
    outputs = {"y": {"dtype": "float32", "shape": ["batch", "sequence", 16]}}
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = graphs.model([node], {"w": graphs.random(32, 16)}, inputs, outputs)
    samples = [{"x": graphs.random(1, n, 32)} for n in (2, 3, 5)]
    job = graphs.job(tmp_path, graph, inputs, outputs, samples, precision="fp32")
    assert prove.run(job)["batches"] == 1


def test_a_batch_never_exceeds_the_declared_most(tmp_path):
    assert prove.run(layer_job(tmp_path, dims={"batch": {"max": 1}}))["batches"] == 0


def test_strings_reach_the_model(tmp_path):
    inputs = {"x": {"dtype": "string", "shape": ["batch", 1]}}
    value = helper.make_tensor_value_info
    graph = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])],
            "g",
            [value("x", graphs.TensorProto.STRING, ["batch", 1])],
            [value("y", graphs.TensorProto.STRING, ["batch", 1])],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )
    samples = [{"x": np.array([["grüße"]], dtype=object)}]
    job = graphs.job(tmp_path, graph, inputs, {"y": inputs["x"]}, samples, precision="fp32")
    assert prove.run(job)["samples"] == 1


def test_a_disagreement_names_output_sample_bound_and_figure(tmp_path):
    job = layer_job(tmp_path)
    path = job.inputs["reference"] / goldens.FILE
    wrong = goldens.read(path)
    wrong[5] = Golden(wrong[5].inputs, {"y": -wrong[5].outputs["y"]})
    goldens.write(path, wrong)
    with pytest.raises(WorkFailedError) as caught:
        prove.run(job)
    assert "output y" in caught.value.problem
    assert "sample 5" in caught.value.problem
    assert "cosine -1.0" in (caught.value.found or "")
    assert caught.value.expected == (
        "cosine at least 0.9999, relative at most 0.001, mismatch at most 0"
    )
    assert caught.value.fix


@pytest.mark.parametrize("change", ["opset", "ir"])
def test_a_model_too_new_for_the_release_names_the_release(tmp_path, change):
    job = layer_job(tmp_path)
    graph = graphs.layer()
    if change == "opset":
        graph.opset_import[0].version = 99
    else:
        graph.ir_version = 99
    artifact.write(graph, job.inputs["onnx"])
    with pytest.raises(WorkFailedError) as caught:
        prove.run(job)
    assert job.params["onnxruntime"] in caught.value.problem
    assert "opset" in (caught.value.fix or "")


def test_an_operator_unknown_to_the_release_is_refused(tmp_path):
    job = layer_job(tmp_path)
    graph = graphs.layer()
    graph.graph.node[0].op_type = "Nonsense"
    artifact.write(graph, job.inputs["onnx"])
    with pytest.raises(WorkFailedError, match="refuses the model") as caught:
        prove.run(job)
    assert "Nonsense" in (caught.value.found or "")


def test_a_sample_that_the_model_cannot_take_is_named(tmp_path):
    job = layer_job(tmp_path)
    path = job.inputs["reference"] / goldens.FILE
    odd = [*goldens.read(path)[:2], Golden({"x": graphs.random(1, 7)}, {"y": np.zeros((1, 16))})]
    goldens.write(path, odd)
    with pytest.raises(WorkFailedError, match="on sample 2"):
        prove.run(job)


def test_an_output_of_another_name_or_dtype_is_refused(tmp_path):
    job = layer_job(tmp_path)
    other = {"y": {"dtype": "float64", "shape": ["batch", 16]}}
    with pytest.raises(WorkFailedError, match="outputs are not those of the spec"):
        prove.run(replace(job, params={**job.params, "outputs": other}))


def test_another_onnxruntime_than_the_release_ships_is_missing(tmp_path):
    job = layer_job(tmp_path, onnxruntime="0.0.1")
    with pytest.raises(MissingError) as caught:
        prove.run(job)
    assert caught.value.expected == "0.0.1"


def test_no_runtime_is_missing_and_a_build_brings_it(tmp_path):
    with pytest.raises(MissingError, match="runtime is not here") as caught:
        prove.run(replace(layer_job(tmp_path), runtime=tmp_path / "nowhere" / "python"))
    assert "triton-builder build" in caught.value.fix


def test_a_runner_that_dies_is_a_failure_with_its_signal(tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho last words >&2\nkill -SEGV $$\n")
    os.chmod(dying, dying.stat().st_mode | stat.S_IXUSR)  # noqa: PTH101
    with pytest.raises(WorkFailedError) as caught:
        prove.run(replace(layer_job(tmp_path), runtime=dying))
    assert "SIGSEGV" in (caught.value.found or "")
    assert "last words" in (caught.value.detail or "")


def test_what_is_no_doing_of_onnx_runtime_keeps_its_traceback(tmp_path):
    job = layer_job(tmp_path, samples=xs(1))
    path = job.inputs["reference"] / goldens.FILE
    (one,) = goldens.read(path)
    mine = np.array([b"\xff"], dtype=object)  # not text
    goldens.write(path, [Golden({**one.inputs, "x": mine}, one.outputs)])
    with pytest.raises(WorkFailedError, match="not by its doing") as caught:
        prove.run(job)
    assert caught.value.found.startswith("UnicodeDecodeError")
    assert "prove_runner.py" in caught.value.detail
