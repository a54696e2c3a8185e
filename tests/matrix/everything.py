"""A project that has one of everything, and builds in a few seconds: file → text.

net     torch; fp32 and int8, weights, a helper module, a vocabulary, a gate, every option
aged    torch; `load(version)`, and weights of one version's own
scale   Python; a vendored package, files, a reference
lone    Python; a dimension beside the batch
pair    scale → net          outer   pair → aged          solo   lone
"""

import hashlib

PYPROJECT = """
[tool.triton-builder]
default-target = "cpu"
[tool.triton-builder.targets.cpu]
triton = "24.10"
device = "cpu"
"""

NET = """
name: net
source: source.py:load
samples: samples.py:samples
requires: [packaging]
weights: weights.json
weights_sha256: {sha256}
inputs:
  x: {{dtype: float32, shape: [batch, 4]}}
outputs:
  y: {{dtype: float32, shape: [batch, 3]}}
  z: {{dtype: float32, shape: [batch, 3]}}
dims:
  batch: {{max: 8}}
versions:
  "1.0": {{precision: fp32}}
  "1.1": {{precision: int8}}
batching: {{preferred: [4], max_queue_delay: 1ms}}
timeout: 500ms
warmup: [1]
tolerance: {{cosine: 0.9}}
accuracy: {{data: labels.py:held_out, output: y, top1: {{fp32: 0.5, int8: 0.4}}}}
slo: {{p99: 1s}}
config: {{parameters: {{colour: red}}}}
"""

NET_SOURCE = """
import importlib.util
import os
from pathlib import Path

import layers
import torch
import yaml

try:
    from extras import BONUS
except ImportError:
    BONUS = 0.0

try:
    import optional
except ImportError:
    optional = None

HERE = Path(__file__).parent
DATA = Path(importlib.util.find_spec("sklearn").origin).parent / "datasets/data/iris.csv"


class Net(torch.nn.Module):
    def __init__(self, rows, scale):
        super().__init__()
        self.inner = torch.nn.Linear(4, 3, bias=False)
        self.inner.weight.data = torch.tensor(rows) * scale

    def forward(self, x):
        y = self.inner(x)
        return y, layers.twice(y) + BONUS


def load(*, weights):
    scale = float((HERE / "vocabulary.txt").read_text())
    scale += float(DATA.read_text().startswith("no such beginning"))
    scale += sum(float(p.read_text()) for p in sorted((HERE / "tables").glob("*.txt")))
    scale += float(os.environ.get("NET_SCALE", "0"))
    return Net(yaml.safe_load(weights.read_text()), scale)


def again(*, weights):
    return load(weights=weights)
"""

NET_SAMPLES = """
import numpy as np


def samples():
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(n, 4)).astype(np.float32)} for n in (1, 2, 3)]


def again():
    return samples()
"""

LABELS = """
import numpy as np


def held_out():
    return {"x": np.eye(4, dtype=np.float32)}, np.array([0, 1, 2, 0])


def again():
    return held_out()
"""

WEIGHTS = "[[1.0, 0.5, 0.25, 2.0], [0.5, 1.0, 0.75, 0.0], [0.25, 2.0, 1.0, 1.5]]"
OTHER_WEIGHTS = WEIGHTS.replace("0.75", "0.5")

AGED = """
name: aged
source: source.py:load
samples: source.py:samples
inputs:
  a: {{dtype: float32, shape: [batch, 3]}}
outputs:
  b: {{dtype: float32, shape: [batch, 3]}}
dims:
  batch: {{max: 8}}
versions:
  "1": {{precision: fp32}}
  "2.1": {{precision: fp32, weights: own.txt, weights_sha256: {sha256}}}
batching: {{}}
"""

AGED_SOURCE = """
import numpy as np
import torch


class Aged(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor([factor]))

    def forward(self, a):
        return a * self.factor


def load(version, *, weights):
    return Aged(float(version) + (float(weights.read_text()) if weights else 0.0))


def samples():
    return [{"a": np.arange(3 * n, dtype=np.float32).reshape(n, 3)} for n in (1, 2, 3)]
"""

OWN = "0.5"

SCALE = """
name: scale
format: python
source: model.py
samples: samples.py:samples
reference: reference.py:reference
files: files.py:files
packages: [filelock]
requires: [idna]
inputs:
  v: {dtype: float32, shape: [batch, 4]}
outputs:
  w: {dtype: float32, shape: [batch, 4]}
dims:
  batch: {max: 8}
versions:
  "1.0": {}
"""

PYTHON_MODEL = """
class TritonPythonModel:
    pass
"""

SCALE_SAMPLES = """
import numpy as np


def samples():
    return [{"v": np.arange(4 * n, dtype=np.float32).reshape(n, 4)} for n in (1, 2)]
"""

SCALE_REFERENCE = """
def reference(inputs):
    return {"w": inputs["v"] * 2}


def again(inputs):
    return reference(inputs)
"""

SCALE_FILES = """
from pathlib import Path


def files():
    return {"table.txt": (Path(__file__).parent / "table.txt").read_bytes()}


def again():
    return files()
"""

LONE = """
name: lone
format: python
source: model.py
samples: source.py:samples
reference: source.py:reference
inputs:
  p: {dtype: int32, shape: [batch, n]}
outputs:
  q: {dtype: int32, shape: [batch, n]}
dims:
  batch: {max: 8}
  n: {min: 1, max: 4}
versions:
  "1.0": {}
"""

LONE_SOURCE = """
import numpy as np


def samples():
    return [{"p": np.ones((1, n), np.int32)} for n in (2, 3)]


def reference(inputs):
    return {"q": inputs["p"]}
"""

PAIR = """
name: pair
version: "1.0"
inputs: {V: {dtype: float32, shape: [batch, 4]}}
outputs: {Y: {dtype: float32, shape: [batch, 3]}}
steps:
  - {model: scale, inputs: {v: V}, outputs: {w: wire}}
  - {model: net, version: "1.1", inputs: {x: wire}, outputs: {y: Y}}
"""

OUTER = """
name: outer
version: "1.0"
inputs: {V: {dtype: float32, shape: [batch, 4]}}
outputs: {B: {dtype: float32, shape: [batch, 3]}}
steps:
  - {model: pair, inputs: {V: V}, outputs: {Y: wire}}
  - {model: aged, inputs: {a: wire}, outputs: {b: B}}
"""

SOLO = """
name: solo
version: "1.0"
inputs: {P: {dtype: int32, shape: [batch, n]}}
outputs: {Q: {dtype: int32, shape: [batch, n]}}
dims:
  batch: {max: 8}
  n: {min: 1, max: 4}
steps:
  - {model: lone, inputs: {p: P}, outputs: {q: Q}}
"""


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


FILES = {
    "pyproject.toml": PYPROJECT,
    "models/net/model.yaml": NET.format(sha256=sha256(WEIGHTS)),
    "models/net/source.py": NET_SOURCE,
    "models/net/samples.py": NET_SAMPLES,
    "models/net/labels.py": LABELS,
    "models/net/layers.py": "def twice(y):\n    return y * 2\n",
    "models/net/optional.py": "",
    "models/net/vocabulary.txt": "2.0",
    "models/net/tables/a.txt": "0.0",
    "models/net/weights.json": WEIGHTS,
    "models/aged/model.yaml": AGED.format(sha256=sha256(OWN)),
    "models/aged/source.py": AGED_SOURCE,
    "models/aged/own.txt": OWN,
    "models/scale/model.yaml": SCALE,
    "models/scale/model.py": PYTHON_MODEL,
    "models/scale/samples.py": SCALE_SAMPLES,
    "models/scale/reference.py": SCALE_REFERENCE,
    "models/scale/files.py": SCALE_FILES,
    "models/scale/table.txt": "a table",
    "models/lone/model.yaml": LONE,
    "models/lone/model.py": PYTHON_MODEL,
    "models/lone/source.py": LONE_SOURCE,
    "ensembles/pair/ensemble.yaml": PAIR,
    "ensembles/outer/ensemble.yaml": OUTER,
    "ensembles/solo/ensemble.yaml": SOLO,
}
