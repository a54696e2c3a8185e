"""Small ONNX graphs, made by hand, and their jobs."""

import contextlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from builder.stages import artifact, goldens
from builder.stages.goldens import Golden
from builder.stages.job import Job

RUNTIME = Path(sys.executable)


def tensor(name, value):
    return numpy_helper.from_array(np.asarray(value), name)


def random(*shape, seed=0, scale=1.0):
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def model(nodes, constants, inputs, outputs, opset=20, ir=10):
    kinds = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
    values = [
        [helper.make_tensor_value_info(n, kinds[t["dtype"]], t["shape"]) for n, t in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *values, [tensor(n, v) for n, v in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def job(tmp_path, graph, inputs, outputs, samples, **params):
    """A job on `graph`, whose goldens are what `graph` itself answers to the samples."""
    onnx_folder, reference, out = (tmp_path / name for name in ("onnx", "reference", "out"))
    for folder in (onnx_folder, reference, out):
        folder.mkdir(parents=True)
    asked = [Golden(sample, {}) for sample in samples]
    if isinstance(graph, onnx.ModelProto):
        artifact.write(graph, onnx_folder)
        answers = artifact.answers(artifact.session(graph), asked)
        asked = [Golden(one.inputs, answer) for one, answer in zip(asked, answers, strict=True)]
    goldens.write(reference / goldens.FILE, asked)
    return Job(
        params={
            "recipe": None,
            "task": None,
            "precision": "int8",
            "inputs": inputs,
            "outputs": outputs,
            "dims": {},
            "tolerance": [],
            "opset": 20,
            "onnxruntime": __import__("onnxruntime").__version__,
            **params,
        },
        inputs={"onnx": onnx_folder, "reference": reference},
        project=tmp_path,
        out=out,
        where="thing 1.0",
        runtime=RUNTIME,
    )


X = {"x": {"dtype": "float32", "shape": ["batch", 32]}}
Y = {"y": {"dtype": "float32", "shape": ["batch", 16]}}


def xs(count=8, channels=32):
    return [{"x": random(1, channels, seed=seed)} for seed in range(count)]


def layer():
    """One MatMul, 32 channels to 16 columns."""
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": random(32, 16, seed=9)}, X, Y
    )


def on_a_full_machine(monkeypatch, error, run):
    """Runs where the first, the second, each session of ONNX Runtime fails for want of room.

    Each time the error comes out as it is, until there is room for all that are started.
    """
    real, left, met = onnxruntime.InferenceSession, [], []

    def start(*arguments, **options):
        if not left:
            met.append(error("full"))
            raise met[-1]
        left.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    for sessions in range(20):
        left[:] = range(sessions)
        with contextlib.suppress(error):
            run()
            break  # it needs no more
        met.clear()
    assert sessions
    assert not met
