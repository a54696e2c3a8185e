"""Models as others write them, in one project, one build and one server start.

Each is here for something that once went wrong, or that no shipped model shows.
"""

import textwrap

import pytest

from builder.flow.build import Options, build
from builder.flow.context import context
from builder.flow.outcome import NotProvenError
from tests.projects import ensemble, model

pytestmark = [pytest.mark.live, pytest.mark.export]

HEAD = """
import numpy as np
import torch
from torch import nn
torch.manual_seed(0)
def noise(*shape, dtype="float32"):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)
def ids(high, *shape, dtype="int64"):
    return np.random.default_rng(sum(shape)).integers(0, high, shape).astype(dtype)
class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.build()
    def build(self):
        pass
"""

ZOO = {
    "every_integer": (
        """
        inputs:
          a: {dtype: uint8, shape: [batch, 3]}
          b: {dtype: int8, shape: [batch, 3]}
          c: {dtype: int16, shape: [batch, 3]}
          d: {dtype: int32, shape: [batch]}
          e: {dtype: bool, shape: [batch]}
        outputs:
          sum: {dtype: int8, shape: [batch, 3]}
          square: {dtype: int16, shape: [batch, 3]}
          bright: {dtype: bool, shape: [batch, 3]}
          double: {dtype: uint8, shape: [batch, 3]}
          picked: {dtype: int32, shape: [batch]}
        dims: {batch: {max: 8}}
        """,
        """
        def forward(self, a, b, c, d, e):
            return b + b, c * c, a > 100, a + a, torch.where(e, d, -d)
        """,
        (
            "dict(a=ids(255, n, 3, dtype='uint8'), b=ids(99, n, 3, dtype='int8'), "
            "c=ids(9, n, 3, dtype='int16'), d=ids(9, n, dtype='int32'), e=ids(2, n) > 0)"
        ),
    ),
    "floats": (
        """
        inputs:
          h: {dtype: float16, shape: [batch, 4]}
          d: {dtype: float64, shape: [batch, 4, 4]}
        outputs:
          half: {dtype: float16, shape: [batch, 4]}
          gram: {dtype: float64, shape: [batch, 4, 4]}
        dims: {batch: {max: 8}}
        """,
        """
        def forward(self, h, d):
            return {"gram": d @ d.transpose(1, 2), "half": h * 2}
        """,
        "dict(h=noise(n, 4, dtype='float16'), d=noise(n, 4, 4, dtype='float64'))",
    ),
    "one_number_a_row": (
        """
        inputs: {x: {dtype: float32, shape: [batch]}}
        outputs: {y: {dtype: float32, shape: [batch]}, label: {dtype: int64, shape: [batch]}}
        dims: {batch: {max: 8}}
        """,
        """
        def forward(self, x):
            return x * 2, (x > 0).long()
        """,
        "dict(x=noise(n))",
    ),
    "no_axes": (
        """
        inputs: {x: {dtype: float32, shape: [n]}, k: {dtype: float32, shape: []}}
        outputs: {total: {dtype: float32, shape: []}, scaled: {dtype: float32, shape: [n]}}
        dims: {n: {max: 9}}
        """,
        """
        def forward(self, x, k):
            return x.sum() * k, x * k
        """,
        "dict(x=noise(n + 2), k=np.float32(n))",
    ),
    "states_with_the_batch_second": (
        """
        inputs:
          x: {dtype: float32, shape: [batch, time, 4]}
          state: {dtype: float32, shape: [1, batch, 6]}
        outputs:
          y: {dtype: float32, shape: [batch, time, 6]}
          next: {dtype: float32, shape: [1, batch, 6]}
        dims: {batch: {max: 4}, time: {max: 30}}
        """,
        """
        def build(self):
            self.r = nn.GRU(4, 6, batch_first=True)
        def forward(self, x, state):
            return self.r(x, state)
        """,
        "dict(x=noise(n, 5, 4), state=noise(1, n, 6))",
    ),
    "tagger": (
        """
        task: text
        inputs: {tokens: {dtype: int32, shape: [batch, length]}}
        outputs:
          tags: {dtype: int64, shape: [batch, length]}
          logits: {dtype: float32, shape: [batch, length, 5]}
        dims: {batch: {max: 8}, length: {max: 40}}
        versions: {"1": {}, "2": {precision: fp16}}
        """,
        """
        def build(self):
            self.e, self.l = nn.Embedding(99, 32), nn.Linear(32, 32)
            self.r = nn.GRU(32, 16, batch_first=True, bidirectional=True)
            self.o = nn.Linear(32, 5)
        def forward(self, ids):
            y = self.o(self.r(self.l(self.e(ids)))[0])
            return {"logits": y, "tags": y.argmax(-1)}
        """,
        "dict(tokens=ids(99, n, 4 + n, dtype='int32'))",
    ),
    "text_without_a_batch": (
        """
        task: text
        inputs: {tokens: {dtype: int64, shape: [length]}}
        outputs: {vector: {dtype: float32, shape: [16]}}
        dims: {length: {max: 40}}
        """,
        """
        def build(self):
            self.e, self.l = nn.Embedding(99, 32), nn.Linear(32, 16)
        def forward(self, ids):
            return self.l(self.e(ids)).mean(0)
        """,
        "dict(tokens=ids(99, 5 * n))",
    ),
    "picture": (
        """
        task: vision
        inputs: {x: {dtype: uint8, shape: [batch, h, w, 3]}}
        outputs: {mask: {dtype: float32, shape: [batch, 1, h, w]}}
        dims: {batch: {max: 2}, h: {min: 8, max: 64}, w: {min: 8, max: 64}}
        versions: {"1": {precision: int8}}
        warmup: [1, 2]
        """,
        """
        def build(self):
            self.c, self.o = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1)
        def forward(self, x):
            return self.o(self.c(x.permute(0, 3, 1, 2).float() / 255).relu()).sigmoid()
        """,
        "dict(x=ids(255, 1, 16, 16 + n, 3, dtype='uint8'))",
    ),
    "as_it_was_set": (
        """
        inputs: {x: {dtype: float32, shape: [batch, 4]}, spare: {dtype: int64, shape: [batch, 1]}}
        outputs: {y: {dtype: float32, shape: [batch, 2]}}
        dims: {batch: {max: 8}}
        versions: {"1.0": {}, "1.1": {}}
        serve: {latest: 1}
        config:
          instance_group: [{count: 2, kind: KIND_CPU}]
          parameters: {intra_op_thread_count: 1, owner: 'a "quoted" ü'}
        """,
        """
        def build(self):
            self.l = nn.Linear(4, 2)
        def forward(self, first, second=None):
            return self.l(first)
        """,
        "dict(x=noise(n, 4), spare=np.zeros((n, 1), 'int64'))",
    ),
    "label": (
        """
        inputs: {y: {dtype: float32, shape: [batch, 2]}}
        outputs: {label: {dtype: int64, shape: [batch]}}
        dims: {batch: {max: 8}}
        """,
        """
        def forward(self, y):
            return y.argmax(-1)
        """,
        "dict(y=noise(n, 2))",
    ),
}

BOTH = """
name: both
version: "1"
inputs: {X: {dtype: float32, shape: [batch, 4]}, S: {dtype: int64, shape: [batch, 1]}}
outputs: {Y: {dtype: float32, shape: [batch, 2]}, LABEL: {dtype: int64, shape: [batch]}}
steps:
  - {model: as_it_was_set, inputs: {x: X, spare: S}, outputs: {y: Y}}
  - {model: label, inputs: {y: Y}, outputs: {label: LABEL}}
"""
OUTER = """
name: outer
version: "1"
inputs: {A: {dtype: float32, shape: [batch, 4]}, B: {dtype: int64, shape: [batch, 1]}}
outputs: {FIRST: {dtype: int64, shape: [batch]}, AGAIN: {dtype: int64, shape: [batch]}}
steps:
  - {model: both, inputs: {X: A, S: B}, outputs: {Y: mid, LABEL: FIRST}}
  - {model: label, inputs: {y: mid}, outputs: {label: AGAIN}}
"""


def write(root):
    for name, (spec, code, sample) in ZOO.items():
        text = f"name: {name}\nsource: source.py:load\nsamples: source.py:samples\n"
        text += textwrap.dedent(spec).strip()
        if "versions:" not in text:
            text += '\nversions: {"1": {}}'
        source = HEAD + "class M(Base):\n" + textwrap.indent(textwrap.dedent(code), "    ")
        source += f"def load():\n    return M()\ndef samples():\n    return [{sample} for n in "
        source += "(1, 2, 3)]\n"
        model(root, name, text.replace("{", "{{").replace("}", "}}"), source)
    ensemble(root, "both", BOTH)
    ensemble(root, "outer", OUTER)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory, installation, cache):
    """What the server said of every version, by model."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "cache").mkdir()
    (folder / "cache/servers").symlink_to(cache / "servers")
    assert installation.tritonserver.exists()
    write(folder / "project")
    options = Options(jobs=2, validate=True, say=lambda _: None, on_event=lambda _: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_BUILDER_CACHE", str(folder / "cache"))
        try:
            outcome = build(context(folder / "project", None, ()), options)
        except NotProvenError as error:
            outcome = error.outcome
    found = {}
    for verdict in outcome.verdicts:
        found.setdefault(verdict.model, []).append(verdict)
    return found


@pytest.mark.parametrize("name", [*ZOO, "both", "outer"])
def test_it_is_built_and_passes_on_the_live_server(name, verdicts):
    assert verdicts[name]
    for verdict in verdicts[name]:
        assert verdict.failures == ()
