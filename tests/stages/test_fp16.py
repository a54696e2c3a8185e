import numpy as np
import pytest

from builder.errors import WorkFailedError
from builder.stages import artifact, fp16
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs


def test_inputs_and_outputs_stay_as_the_spec_says(tmp_path):
    graph = graphs.layer()
    job = graphs.job(tmp_path, graph, X, Y, xs())
    facts = fp16.run(job)
    made = artifact.read(job.out).graph
    assert list(made.input) == list(graph.graph.input)
    assert list(made.output) == list(graph.graph.output)
    assert facts["agreement"]["y"]["cosine_min"] > 0.999
    assert "MatMul" in {node.op_type for node in made.node}


def test_weights_take_half_the_bytes(tmp_path):
    wide = {"y": {"dtype": "float32", "shape": ["batch", 512]}}
    graph = graphs.model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": random(32, 512)}, X, wide
    )
    facts = fp16.run(graphs.job(tmp_path, graph, X, wide, xs()))
    assert facts["size"] < 0.55 * facts["size_fp32"]


def test_values_beyond_fp16_are_kept_fp32_and_said(tmp_path):
    nodes = [
        helper.make_node("Mul", ["x", "big"], ["a"], name="grow"),
        helper.make_node("Mul", ["a", "small"], ["b"], name="shrink"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="head"),
    ]
    constants = {"big": np.float32(6e4), "small": np.float32(1e-4), "w": random(32, 16)}
    job = graphs.job(tmp_path, graphs.model(nodes, constants, X, Y), X, Y, xs())
    facts = fp16.run(job)
    assert {"grow", "shrink"} <= set(facts["kept_fp32"]["nodes"])
    assert "head" not in facts["kept_fp32"]["nodes"]


def test_a_lower_bound_that_fp16_has_not_still_guards_a_division(tmp_path):
    nodes = [
        helper.make_node("ReduceL2", ["x", "last"], ["n"], keepdims=1),
        helper.make_node("Clip", ["n", "least"], ["c"]),
        helper.make_node("Div", ["x", "c"], ["y"]),
    ]
    constants = {"last": np.array([-1]), "least": np.float32(1e-12)}
    y = {"y": X["x"]}
    job = graphs.job(tmp_path, graphs.model(nodes, constants, X, y), X, y, xs())
    fp16.run(job)
    kept = [n for n in artifact.read(job.out).graph.node if n.op_type == "Clip"]
    floats = {t.name: t.data_type for t in artifact.read(job.out).graph.initializer}
    assert floats[kept[0].input[1]] == 1


def test_equal_inputs_give_equal_bytes(tmp_path):
    jobs = [graphs.job(tmp_path / name, graphs.layer(), X, Y, xs()) for name in ("one", "two")]
    for job in jobs:
        fp16.run(job)
    first, second = ((job.out / "model.onnx").read_bytes() for job in jobs)
    assert first == second


def test_a_missed_tolerance_names_output_sample_and_fix(tmp_path):
    strict = [{"relative": 1e-9}]
    with pytest.raises(WorkFailedError) as caught:
        fp16.run(graphs.job(tmp_path, graphs.layer(), X, Y, xs(), tolerance=strict))
    assert "sample 0, output y" in (caught.value.found or "")
    assert "precision: fp32" in (caught.value.fix or "")


def test_what_becomes_an_index_is_computed_in_fp32(tmp_path):
    y = {"y": {"dtype": "int64", "shape": ["batch", 32]}}
    nodes = [
        helper.make_node("Abs", ["x"], ["a"], name="abs"),
        helper.make_node("Mul", ["a", "many"], ["b"], name="scale"),
        helper.make_node("Cast", ["b"], ["y"], to=7, name="bucket"),
    ]
    graph = graphs.model(nodes, {"many": np.float32(3000.3)}, X, y)
    facts = fp16.run(graphs.job(tmp_path, graph, X, y, xs()))
    assert "mismatch" not in facts["agreement"]["y"]
    assert {"abs", "scale"} <= set(facts["kept_fp32"]["nodes"])


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_a_machine_that_is_full_is_no_graph_beyond_fp16(tmp_path, monkeypatch, error):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    graphs.on_a_full_machine(monkeypatch, error, lambda: fp16.run(job))
