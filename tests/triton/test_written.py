"""What is exported for a release runs in the release's own ONNX Runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from builder.stages import export, goldens, reference
from builder.stages.exporting import onnx_graph
from builder.stages.job import Job
from builder.triton.opsets import aim
from builder.triton.releases import release
from tests.triton.test_loads import wheel

pytestmark = [pytest.mark.export, pytest.mark.slow]

SOURCE = """
import numpy as np
import torch
from torch.nn import functional as F


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = torch.nn.Embedding(50, 16)
        self.norm = torch.nn.LayerNorm(16)
        self.mix = torch.nn.Linear(16, 48)
        self.conv = torch.nn.Conv1d(16, 16, 3, padding=1)

    def forward(self, ids):
        x = self.norm(self.words(ids))
        q, k, v = self.mix(x).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
        x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = F.gelu(self.conv(x.transpose(1, 2)))
        return F.normalize(F.hardswish(x).amax(-1), dim=-1)


def load():
    return Encoder()


def samples():
    random = np.random.default_rng(0)
    return [{"ids": random.integers(0, 50, (2, n))} for n in (5, 9)]
"""

SPEC = {
    "source": "models/x/source.py:load",
    "samples": "models/x/source.py:samples",
    "version": None,
    "weights": None,
    "inputs": {"ids": {"dtype": "int64", "shape": ["batch", "n"]}},
    "outputs": {"y": {"dtype": "float32", "shape": ["batch", 16]}},
    "dims": {"batch": {"min": 1, "max": 8}, "n": {"min": 3, "max": 32}},
}

ANSWER = """
import sys
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
np.save(sys.argv[3], session.run(["y"], {"ids": np.load(sys.argv[2])})[0])
"""


@pytest.mark.parametrize("name", ["23.10", "24.04", "25.03", "26.09"])
def test_an_export_runs_in_the_onnxruntime_of_its_release(tmp_path, cache, name):
    row = release(name)
    (tmp_path / "models/x").mkdir(parents=True)
    (tmp_path / "models/x/source.py").write_text(SOURCE)
    params = {**SPEC, **asdict(aim(row.loads)), "loads": asdict(row.loads)}
    for folder in ("reference", "export"):
        (tmp_path / folder).mkdir()
    reference.run(Job(params, {}, tmp_path, tmp_path / "reference", "x: reference"))
    inputs = {"reference": tmp_path / "reference"}
    facts = export.run(Job(params, inputs, tmp_path, tmp_path / "export", "x: export"))
    assert (facts["opset"], facts["ir_version"]) == (params["opset"], params["ir_version"])
    for number, golden in enumerate(goldens.read(tmp_path / "reference" / goldens.FILE)):
        asked, answered = tmp_path / f"{number}.npy", tmp_path / f"{number}.out.npy"
        np.save(asked, golden.inputs["ids"])
        graph = tmp_path / "export" / onnx_graph.FILE
        subprocess.run(
            [sys.executable, "-c", ANSWER, str(graph), str(asked), str(answered)],
            check=True,
            env={**os.environ, "PYTHONPATH": str(wheel(cache, row.need("onnxruntime")))},
        )
        np.testing.assert_allclose(np.load(answered), golden.outputs["y"], atol=1e-5)
