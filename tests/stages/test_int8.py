import numpy as np
import onnx
import pytest

from builder.stages import artifact, int8
from builder.stages.quantising import linear
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs
from tests.stages.layers import answer, cosines, minilm, spellings


def kinds(folder):
    return [node.op_type for node in artifact.read(folder).graph.node]


def quantised_weights(folder):
    made = artifact.read(folder).graph.initializer
    return [t for t in made if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2]


@pytest.mark.parametrize("spelling", spellings())
@pytest.mark.parametrize("recipe", [None, "accurate"])
def test_a_linear_layer_is_quantised_however_it_is_spelt(tmp_path, spelling, recipe):
    nodes, constants = spellings()[spelling]
    job = graphs.job(tmp_path, graphs.model(nodes, constants, X, Y), X, Y, xs(), recipe=recipe)
    facts = int8.run(job)
    assert facts["agreement"]["y"]["cosine_min"] > 0.999
    if recipe is None:
        assert not any(
            t.data_type == 1 and len(t.dims) == 2 for t in artifact.read(job.out).graph.initializer
        )
        assert "MatMulIntegerToFloat" in kinds(job.out)


def test_an_embedding_may_feed_a_linear_layer_directly(tmp_path):
    ids = {"x": {"dtype": "int64", "shape": ["batch"]}}
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["y"]),
    ]
    constants = {"table": random(40, 32, seed=1), "w": random(32, 16, seed=2)}
    graph = graphs.model(nodes, constants, ids, Y)
    samples = [{"x": np.arange(n, n + 5)} for n in range(8)]
    facts = int8.run(graphs.job(tmp_path, graph, ids, Y, samples))
    assert facts["agreement"]["y"]["cosine_min"] > 0.999
    assert len(quantised_weights(tmp_path / "out")) == 2


def test_a_weight_shared_by_layers_is_stored_once(tmp_path):
    nodes, constants = spellings()["weight shared"]
    job = graphs.job(tmp_path, graphs.model(nodes, constants, X, Y), X, Y, xs())
    int8.run(job)
    assert len(quantised_weights(job.out)) == 2


def test_rows_of_zeros_and_of_one_value_are_finite(tmp_path):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, [{"x": abs(s["x"])} for s in xs()])
    int8.run(job)
    rows = np.stack([np.zeros(32), np.full(32, 3.0)]).astype(np.float32)
    weight = graphs.onnx.numpy_helper.to_array(graphs.layer().graph.initializer[0])
    np.testing.assert_allclose(answer(job.out, {"x": rows}), rows @ weight, atol=0.5)


def test_embeddings_are_quantised_row_by_row(tmp_path):
    ids = {"x": {"dtype": "int64", "shape": ["batch", "sequence"]}}
    out = {"y": {"dtype": "float32", "shape": ["batch", "sequence", 16]}}
    table = random(200, 16, seed=5) * np.logspace(-2, 2, 200, dtype=np.float32)[:, None]
    graph = graphs.model([helper.make_node("Gather", ["t", "x"], ["y"])], {"t": table}, ids, out)
    samples = [{"x": np.arange(n * 20, n * 20 + 20)[None]} for n in range(8)]
    job = graphs.job(tmp_path, graph, ids, out, samples)
    int8.run(job)
    small = answer(job.out, {"x": np.array([[0]])})[0, 0]
    np.testing.assert_allclose(small, table[0], atol=np.abs(table[0]).max() / 100)
    assert quantised_weights(job.out)


def test_opset_17_reduces_with_an_attribute(tmp_path):
    nodes, constants = spellings()["matmul"]
    job = graphs.job(tmp_path, graphs.model(nodes, constants, X, Y, opset=17, ir=8), X, Y, xs())
    assert int8.run(job)["agreement"]["y"]["cosine_min"] > 0.999


def test_small_matrices_beside_large_ones_stay_fp32():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["x", "h"], ["y"]),
    ]
    y = {"y": {"dtype": "float32", "shape": ["batch", 2]}}
    graph = graphs.model(nodes, {"w": random(32, 4096), "h": random(32, 2)}, X, y)
    layers = linear.find(graph, linear.constants(graph))
    assert [one.weight for one in layers.linears] == ["w"]


@pytest.mark.parametrize("recipe", [None, "accurate"])
def test_convolutions_are_quantised_statically(tmp_path, recipe):
    image = {"x": {"dtype": "float32", "shape": ["batch", 3, 16, 16]}}
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["a"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "l"], ["c"], pads=[1, 1, 1, 1], name="second"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("MatMul", ["e", "w"], ["y"], name="head"),
    ]
    constants = {
        "k": random(8, 3, 3, 3, seed=1),
        "l": random(32, 8, 3, 3, seed=2),
        "w": random(32, 16, seed=3),
    }
    samples = [{"x": random(1 + s // 4, 3, 16, 16, seed=s)} for s in range(6)]
    graph = graphs.model(nodes, constants, image, Y)
    job = graphs.job(tmp_path, graph, image, Y, samples, recipe=recipe)
    facts = int8.run(job)
    assert "static-conv" in facts["recipe"]
    assert facts["agreement"]["y"]["cosine_min"] > 0.98
    assert "DequantizeLinear" in kinds(job.out)


@pytest.mark.parametrize("spelling", ["weights stored", "weights reordered in the graph"])
def test_lstms_are_quantised(tmp_path, spelling):
    sequence = {"x": {"dtype": "float32", "shape": ["sequence", "batch", 32]}}
    out = {"y": {"dtype": "float32", "shape": ["sequence", 1, "batch", 24]}}
    constants = {"r": random(1, 96, 24, seed=2, scale=0.2)}
    w = random(1, 96, 32, seed=1, scale=0.2)
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=24)]
    if spelling == "weights stored":
        constants["w"] = w
    else:
        constants |= {"a": w[:, :48], "b": w[:, 48:]}
        nodes.insert(0, helper.make_node("Concat", ["a", "b"], ["w"], axis=1))
    samples = [{"x": random(5, 1, 32, seed=s)} for s in range(6)]
    job = graphs.job(
        tmp_path, graphs.model(nodes, constants, sequence, out), sequence, out, samples
    )
    facts = int8.run(job)
    assert "DynamicQuantizeLSTM" in kinds(job.out)
    assert facts["size"] < facts["size_fp32"] / 2


@pytest.mark.export
def test_minilm_keeps_every_sentence_in_a_quarter_of_the_bytes(tmp_path, minilm_graph):
    job, sentences = minilm(tmp_path, minilm_graph)
    facts = int8.run(job)
    assert facts["size"] <= 0.27 * facts["size_fp32"]
    found = cosines(job, sentences)
    assert len(found) == 200
    assert min(found) >= 0.985
    assert np.mean(found) >= 0.995
