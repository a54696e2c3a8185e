"""Int8 for GPUs: what is quantised, how well it agrees, and that it is what TensorRT takes."""

import numpy as np
import onnx
import pytest

from builder.stages import artifact, qdq
from builder.stages.quantising import pairs
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs
from tests.stages.layers import IMAGE, between, convolutional, cosines, images, minilm, spellings


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


def test_the_last_bits_of_a_calibration_do_not_reach_a_scale():
    most = np.linspace(0.1, 900, 4000)
    same = pairs.scale(most) == pairs.scale(most * (1 + 1e-7))
    assert same.mean() > 0.999
    assert (pairs.scale(most) * pairs.LEVELS >= most).all()
    assert (pairs.scale(most) * pairs.LEVELS <= most * 1.016).all()


@pytest.mark.export
@pytest.mark.slow
def test_minilm_keeps_sentences_that_it_was_not_calibrated_on(tmp_path, minilm_graph):
    job, sentences = minilm(tmp_path, minilm_graph)
    facts = qdq.run(job)
    assert facts["size"] <= 0.45 * facts["size_fp32"]
    found = cosines(job, sentences)
    assert min(found) >= 0.985
    assert np.mean(found) >= 0.995
