"""Small projects for tests: a linear model that torch exports in a second or two."""

import textwrap
from pathlib import Path

SPEC = """
name: {name}
source: source.py:load
samples: source.py:samples
inputs:
  x: {{dtype: float32, shape: [batch, 4]}}
outputs:
  y: {{dtype: float32, shape: [batch, 3]}}
dims:
  batch: {{max: 8}}
versions:
  "1.0": {{precision: fp32}}
"""

SOURCE = """
import numpy as np
import torch


class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(x)


def load():
    return Linear()


def samples():
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(n, 4)).astype(np.float32)} for n in (1, 2, 3)]
"""

TARGET = """
[tool.triton-builder]
default-target = "cpu"
[tool.triton-builder.targets.cpu]
triton = "24.10"
device = "cpu"
"""


def model(root: Path, name: str = "linear", spec: str = SPEC, source: str = SOURCE) -> Path:
    """Writes a model folder into a project."""
    folder = root / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text(TARGET)
    (folder / "model.yaml").write_text(
        textwrap.dedent(spec).replace("{name}", name).replace("{{", "{").replace("}}", "}")
    )
    (folder / "source.py").write_text(source)
    return folder


def ensemble(root: Path, name: str, text: str) -> Path:
    """Writes an ensemble folder into a project."""
    folder = root / "ensembles" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ensemble.yaml").write_text(textwrap.dedent(text))
    return folder


ECHO_SPEC = """
name: {name}
format: python
source: model.py
samples: source.py:samples
reference: source.py:reference
inputs:
  x: {{dtype: int32, shape: [batch, 2]}}
outputs:
  y: {{dtype: int32, shape: [batch, 2]}}
dims:
  batch: {{max: 4}}
versions:
  "1.0": {{}}
"""

ECHO_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(r, "x").as_numpy())]
            )
            for r in requests
        ]
"""

ECHO_SOURCE = """
import numpy as np


def samples():
    return [{"x": np.array([[1, 2]], np.int32)}, {"x": np.array([[3, 4], [5, 6]], np.int32)}]


def reference(inputs):
    return {"y": inputs["x"]}
"""


def echo(root: Path, name: str = "echo", source: str = ECHO_SOURCE) -> Path:
    """Writes a model that needs no torch to build, so that its build takes no second."""
    folder = model(root, name, ECHO_SPEC, source)
    (folder / "model.py").write_text(ECHO_MODEL)
    return folder
