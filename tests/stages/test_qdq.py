"""Int8 for GPUs: what is quantised, how well it agrees, and that it is what TensorRT takes."""

import sys

import numpy as np
import onnx
import pytest

from builder.errors import WorkFailedError
from builder.stages import artifact, qdq
from builder.stages.goldens import Golden
from builder.stages.quantising import pairs
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs
from tests.stages.test_int8 import minilm, spellings

IMAGE = {"x": {"dtype": "float32", "shape": ["batch", 3, 16, 16]}}


def convolutional():
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["a"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("Conv", ["r", "l"], ["c"], pads=[1, 1, 1, 1], name="second"),
        helper.make_node("Conv", ["r", "m"], ["d"], pads=[1, 1, 1, 1], group=8, name="third"),
        helper.make_node("Concat", ["c", "d"], ["e"], axis=1, name="both"),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], name="pool"),
        helper.make_node("Flatten", ["f"], ["g"], name="flat"),
        helper.make_node("MatMul", ["g", "w"], ["y"], name="head"),
    ]
    constants = {
        "k": random(8, 3, 3, 3, seed=1),
        "b": random(8, seed=5),
        "l": random(24, 8, 3, 3, seed=2),
        "m": random(8, 1, 3, 3, seed=4),
        "w": random(32, 16, seed=3),
    }
    return graphs.model(nodes, constants, IMAGE, Y)


def images():
    return [{"x": random(1 + s // 4, 3, 16, 16, seed=s)} for s in range(6)]


def constants(folder):
    return {t.name: onnx.numpy_helper.to_array(t) for t in artifact.read(folder).graph.initializer}


def of_kind(folder, kind):
    return [node for node in artifact.read(folder).graph.node if node.op_type == kind]


def assert_what_tensorrt_takes(folder):
    """Signed, no zero points, no scale below 0, activations by the tensor, no contrib operator."""
    model, values = artifact.read(folder), constants(folder)
    assert {opset.domain for opset in model.opset_import} <= {"", "ai.onnx"}
    assert of_kind(folder, "QuantizeLinear")
    for node in model.graph.node:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            scale, zero = values[node.input[1]], values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
            assert (scale > 0).all()
            if node.op_type == "QuantizeLinear":
                assert scale.shape == ()
    assert not {"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"} & {
        node.op_type for node in model.graph.node
    }


@pytest.mark.parametrize("spelling", spellings())
def test_a_linear_layer_is_quantised_however_it_is_spelt(tmp_path, spelling):
    nodes, values = spellings()[spelling]
    job = graphs.job(tmp_path, graphs.model(nodes, values, X, Y), X, Y, xs())
    facts = qdq.run(job)
    assert facts["agreement"]["y"]["cosine_min"] > 0.99
    assert_what_tensorrt_takes(job.out)
    matrices = [v for v in constants(job.out).values() if v.ndim == 2]
    assert {v.dtype for v in matrices} == {np.dtype(np.int8)}
    assert len(of_kind(job.out, "MatMul")) == sum(n.op_type in {"MatMul", "Gemm"} for n in nodes)


def test_convolutions_have_a_scale_a_channel_and_layers_that_read_one_value_share_its_pair(
    tmp_path,
):
    job = graphs.job(tmp_path, convolutional(), IMAGE, Y, images())
    facts = qdq.run(job)
    assert facts["agreement"]["y"]["cosine_min"] > 0.99
    assert_what_tensorrt_takes(job.out)
    assert len(of_kind(job.out, "QuantizeLinear")) == 3  # of x, of the Relu, of the flattened
    weights = {n.name: n.input[1] for n in of_kind(job.out, "Conv")}
    by_output = {n.output[0]: n for n in of_kind(job.out, "DequantizeLinear")}
    scales = {name: constants(job.out)[by_output[w].input[1]] for name, w in weights.items()}
    assert {name: s.shape for name, s in scales.items()} == {
        "first": (8,),
        "second": (24,),
        "third": (8,),
    }


def between():
    """Two layers with something between them, and a small one beside."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        helper.make_node("Mul", ["a", "s"], ["b"], name="between"),
        helper.make_node("Gemm", ["b", "v", "c"], ["y"], name="two"),
    ]
    values = {
        "w": random(32, 32, seed=1),
        "s": random(32, seed=2),
        "v": random(32, 16, seed=3),
        "c": random(16, seed=4),
    }
    return graphs.model(nodes, values, X, Y)


@pytest.mark.parametrize(
    ("graph", "inputs", "samples"),
    [(between(), X, xs()), (convolutional(), IMAGE, images())],
    ids=["linear", "convolutional"],
)
def test_inputs_and_outputs_are_the_spec_s(tmp_path, graph, inputs, samples):
    job = graphs.job(tmp_path, graph, inputs, Y, samples)
    qdq.run(job)
    made = artifact.read(job.out).graph
    assert list(made.input) == list(graph.graph.input)
    assert list(made.output) == list(graph.graph.output)


def test_what_lies_between_linear_layers_is_fp16_and_they_are_fp32_with_their_biases(tmp_path):
    job = graphs.job(tmp_path, between(), X, Y, xs())
    qdq.run(job)
    values = constants(job.out)
    assert values["s"].dtype == np.float16
    assert values["c"].dtype == np.float32
    scales = {values[n.input[1]].dtype for n in of_kind(job.out, "QuantizeLinear")}
    assert scales == {np.dtype(np.float32)}


def test_what_lies_between_convolutions_stays_as_it_is(tmp_path):
    job = graphs.job(tmp_path, convolutional(), IMAGE, Y, images())
    qdq.run(job)
    assert {v.dtype.name for v in constants(job.out).values()} == {"float32", "int8"}
    assert not of_kind(job.out, "Cast")


def test_few_convolutions_among_linear_layers_are_not_quantised(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], strides=[16, 16], name="patches"),
        helper.make_node("Flatten", ["a"], ["b"], name="flat"),
        helper.make_node("MatMul", ["b", "v"], ["c"], name="wide"),
        helper.make_node("MatMul", ["c", "w"], ["y"], name="head"),
    ]
    values = {
        "k": random(8, 3, 16, 16, seed=1, scale=0.1),
        "v": random(8, 900, seed=2),
        "w": random(900, 16, seed=3, scale=0.1),
    }
    graph = graphs.model(nodes, values, IMAGE, Y)
    job = graphs.job(tmp_path, graph, IMAGE, Y, images())
    qdq.run(job)
    (patches,) = of_kind(job.out, "Conv")
    assert constants(job.out)[patches.input[1]].dtype == np.float16
    assert len(of_kind(job.out, "QuantizeLinear")) == 2


def test_an_answer_does_not_depend_on_its_batch_mates(tmp_path):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    qdq.run(job)
    running = artifact.session(job.out)
    row, mate = random(1, 32, seed=50), random(1, 32, seed=51, scale=1000.0)
    both, lone = artifact.answers(
        running, [Golden({"x": np.concatenate([row, mate])}, {}), Golden({"x": row}, {})]
    )
    np.testing.assert_allclose(both["y"][:1], lone["y"], rtol=1e-4)


def test_equal_inputs_give_equal_bytes(tmp_path):
    jobs = [graphs.job(tmp_path / n, convolutional(), IMAGE, Y, images()) for n in ("one", "two")]
    for job in jobs:
        qdq.run(job)
    first, second = (job.out / artifact.FILE for job in jobs)
    assert first.read_bytes() == second.read_bytes()


def test_channels_that_stand_out_do_not_drown_the_others(tmp_path):
    samples = xs()
    for sample in samples:
        sample["x"][:, 3] *= 300
    values = {"w": random(32, 16, seed=1)}
    values["w"][3] /= 300
    graph = graphs.model([helper.make_node("MatMul", ["x", "w"], ["y"])], values, X, Y)
    facts = qdq.run(graphs.job(tmp_path, graph, X, Y, samples))
    assert facts["agreement"]["y"]["cosine_min"] > 0.99


def test_a_layer_beyond_fp16_s_range_stays_fp32(tmp_path):
    nodes = [
        helper.make_node("Mul", ["x", "big"], ["a"], name="grow"),
        helper.make_node("MatMul", ["a", "v"], ["b"], name="wide"),
        helper.make_node("Mul", ["b", "small"], ["c"], name="shrink"),
        helper.make_node("MatMul", ["c", "w"], ["y"], name="head"),
    ]
    values = {
        "big": np.float32(6e4),
        "small": np.float32(1e-4),
        "v": random(32, 32, seed=1),
        "w": random(32, 16, seed=2),
    }
    job = graphs.job(tmp_path, graphs.model(nodes, values, X, Y), X, Y, xs())
    assert qdq.run(job)["agreement"]["y"]["cosine_min"] > 0.99
    assert constants(job.out)["v"].dtype == np.float32
    assert len(of_kind(job.out, "QuantizeLinear")) == 1


def test_a_graph_with_nothing_to_quantise_is_refused(tmp_path):
    y = {"y": X["x"]}
    graph = graphs.model([helper.make_node("Tanh", ["x"], ["y"])], {}, X, y)
    with pytest.raises(WorkFailedError, match="nothing in this graph"):
        qdq.run(graphs.job(tmp_path, graph, X, y, xs()))


def test_a_missed_tolerance_is_refused_with_the_best_recipe(tmp_path):
    strict = [{"outputs": {"y": {"relative": 1e-9}}}]
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs(), tolerance=strict)
    with pytest.raises(WorkFailedError, match="int8 recipes keeps the tolerance") as caught:
        qdq.run(job)
    assert "static-pairs" in caught.value.found
    assert "precision: fp16" in caught.value.fix
    assert not list(job.out.iterdir())


def test_the_last_bits_of_a_calibration_do_not_reach_a_scale():
    most = np.linspace(0.1, 900, 4000)
    same = pairs.scale(most) == pairs.scale(most * (1 + 1e-7))
    assert same.mean() > 0.999
    assert (pairs.scale(most) * pairs.LEVELS >= most).all()
    assert (pairs.scale(most) * pairs.LEVELS <= most * 1.016).all()


@pytest.mark.export
@pytest.mark.slow
def test_minilm_keeps_sentences_that_it_was_not_calibrated_on(tmp_path, monkeypatch):
    # tests/triton looks like a package `triton` to torch, which would take it for the compiler
    monkeypatch.setitem(sys.modules, "triton", None)
    job, sentences = minilm(tmp_path)
    facts = qdq.run(job)
    assert facts["size"] <= 0.45 * facts["size_fp32"]
    asked = [Golden(one, {}) for one in sentences]
    reference, made = (
        artifact.answers(artifact.session(folder, threads=2), asked)
        for folder in (job.inputs["onnx"], job.out)
    )
    cosines = [
        float((a["y"] * b["y"]).sum() / np.linalg.norm(a["y"]) / np.linalg.norm(b["y"]))
        for a, b in zip(reference, made, strict=True)
    ]
    assert min(cosines) >= 0.985
    assert np.mean(cosines) >= 0.995
