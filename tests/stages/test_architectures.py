"""Architectures that no model of this project has, each exported and proven by the stages."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from builder.errors import WorkFailedError
from builder.spec.tensor import Dim, Tensor, is_batched
from builder.stages import export, preflight, reference
from builder.stages.job import Job
from builder.triton.profiles import profiles

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.export


@dataclass(frozen=True)
class Architecture:
    """A module's body, its samples and its tensors: `name dtype size size`, one a line."""

    body: str
    samples: str
    inputs: str
    outputs: str
    dims: dict = field(default_factory=dict)
    way: str = "dynamo"


BERT_LIKE = (
    "vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, "
    "intermediate_size=32, max_position_embeddings=80"
)
IDS = "ids = np.arange(18).reshape(2, 9) % 40 + 3; mask = (np.arange(9) < [[9], [6]]).astype('i8')"
SEQ = {"seq": {"max": 64}}

ARCHITECTURES = {
    "transformer_with_padding": Architecture(
        """
        self.e = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.t = nn.TransformerEncoder(layer, 2)
        def forward(ids, mask):
            h = self.t(self.e(ids), src_key_padding_mask=mask == 0)
            return h * mask.unsqueeze(-1)
        """,
        "{'ids': ids, 'mask': mask}",
        "ids int64 batch seq\nmask int64 batch seq",
        "embedding float32 batch seq 16",
        SEQ,
    ),
    "bert": Architecture(
        f"""
        from transformers import BertConfig, BertModel
        self.m = BertModel(BertConfig({BERT_LIKE}))
        def forward(input_ids, attention_mask):
            return self.m(input_ids=input_ids, attention_mask=attention_mask)
        """,
        "{'input_ids': ids, 'attention_mask': mask}",
        "input_ids int64 batch seq\nattention_mask int64 batch seq",
        "pooler_output float32 batch 16",
        SEQ,
    ),
    "deberta": Architecture(
        f"""
        from transformers import DebertaV2Config, DebertaV2Model
        self.m = DebertaV2Model(DebertaV2Config({BERT_LIKE}, relative_attention=True,
            position_buckets=8, pos_att_type=["p2c", "c2p"], share_att_key=True))
        def forward(ids, mask):
            return self.m(ids, mask)
        """,
        "{'ids': ids, 'mask': mask}",
        "ids int64 batch seq\nmask int64 batch seq",
        "last_hidden_state float32 batch seq 16",
        SEQ,
    ),
    "xlnet": Architecture(
        """
        from transformers import XLNetConfig, XLNetModel
        c = XLNetConfig(vocab_size=50, d_model=16, n_layer=1, n_head=2, d_inner=32, use_mems=False)
        self.m = XLNetModel(c)
        def forward(ids, mask):
            return self.m(ids, mask).last_hidden_state
        """,
        "{'ids': ids, 'mask': mask}",
        "ids int64 batch seq\nmask int64 batch seq",
        "h float32 batch seq 16",
        SEQ,
        way="torchscript",
    ),
    "bidirectional_lstm": Architecture(
        """
        self.r = nn.LSTM(3, 5, num_layers=2, bidirectional=True, batch_first=True)
        def forward(x):
            return self.r(x)
        """,
        "{'x': noise(2, 6, 3)}",
        "x float32 batch seq 3",
        "out float32 batch seq 10\nh float32 4 batch 5\nc float32 4 batch 5",
        SEQ,
    ),
    "plain_rnn": Architecture(
        """
        self.r = nn.RNN(3, 5, batch_first=True)
        def forward(x):
            return self.r(x)[0]
        """,
        "{'x': noise(2, 6, 3)}",
        "x float32 batch seq 3",
        "out float32 batch seq 5",
        SEQ,
        way="torchscript",
    ),
    "u_net": Architecture(
        """
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.u, self.o = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 2, 1)
        def forward(x):
            a = F.relu(self.a(x))
            return self.o(torch.cat([a, self.u(F.relu(self.b(F.max_pool2d(a, 2))))], 1))
        """,
        "{'x': noise(1, 1, 16, 16)}",
        "x float32 batch 1 h w",
        "y float32 batch 2 h w",
        {"h": {"min": 8, "max": 64}, "w": {"min": 8, "max": 64}},
    ),
    "pooling_over_open_sizes": Architecture(
        """
        self.p = nn.AdaptiveAvgPool2d((2, 3))
        def forward(x):
            return self.p(x).flatten(1)
        """,
        "{'x': noise(1, 2, 9, 8)}",
        "x float32 batch 2 h w",
        "y float32 batch 12",
        {"h": {"min": 4, "max": 64}, "w": {"min": 4, "max": 64}},
        way="dynamo, plain operators",
    ),
    "image_without_batch": Architecture(
        """
        def forward(image):
            x = image.permute(2, 0, 1).unsqueeze(0).float() / 255
            return F.interpolate(x, size=(8, 8), mode="bilinear", antialias=True)[0]
        """,
        "{'image': np.arange(2700).reshape(20, 45, 3).astype('u1')}",
        "image uint8 h w 3",
        "pixels float32 3 8 8",
        {"h": {"min": 8, "max": 99}, "w": {"min": 8, "max": 99}},
    ),
    "audio_spectrogram": Architecture(
        """
        self.register_buffer("window", torch.hann_window(64))
        self.c = nn.Conv1d(33, 4, 3)
        def forward(wave):
            z = torch.stft(wave, 64, 32, window=self.window, return_complex=True)
            return self.c((z.real**2 + z.imag**2 + 1e-6).log()).mean(-1)
        """,
        "{'wave': noise(1, 800)}",
        "wave float32 batch time",
        "y float32 batch 4",
        {"time": {"min": 200, "max": 9000}},
    ),
    "tabular_of_many_dtypes": Architecture(
        """
        self.e, self.l = nn.Embedding(9, 4), nn.Linear(7, 3)
        def forward(kind, numbers, flag):
            parts = [self.e(kind), numbers.float(), flag.float().unsqueeze(1)]
            y = self.l(torch.cat(parts, 1))
            top = y.topk(2)
            return {"p": y.softmax(-1).double(), "label": y.argmax(-1).to(torch.int32),
                    "yes": y[:, 0] > 0, "half": y.half(), "order": top.indices}
        """,
        "{'kind': np.array([3, 1], 'i4'), 'numbers': np.array([[1, 2], [3, 4]], 'i2'),"
        " 'flag': np.array([True, False])}",
        "kind int32 batch\nnumbers int16 batch 2\nflag bool batch",
        "label int32 batch\np float64 batch 3\nyes bool batch\nhalf float16 batch 3\n"
        "order int64 batch 2",
    ),
    "graph_of_nodes_and_edges": Architecture(
        """
        self.l = nn.Linear(3, 4)
        def forward(x, edges):
            return torch.zeros(x.shape[0], 4).index_add(0, edges[1], self.l(x)[edges[0]])
        """,
        "{'x': noise(5, 3), 'edges': np.array([[0, 1, 2, 4], [1, 2, 3, 0]])}",
        "x float32 nodes 3\nedges int64 2 edges",
        "y float32 nodes 4",
        {"nodes": {"max": 50}, "edges": {"max": 90}},
    ),
    "arithmetic_of_small_integers": Architecture(
        """
        def forward(a, b):
            return a * a + a, (b * b).clamp(0, 9)
        """,
        "{'a': np.array([1, 200], 'u1'), 'b': np.array([[3, -2]], 'i2').T}",
        "a uint8 batch\nb int16 batch 1",
        "x uint8 batch\ny int16 batch 1",
    ),
}


def source(architecture: Architecture) -> str:
    body = textwrap.dedent(architecture.body).strip()
    build, forward = body.split("def forward(")
    names, _, code = forward.partition("):\n")
    return (
        "import numpy as np, torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
        "class M(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        + textwrap.indent(build, " " * 8)
        + f"    def forward(self, {names}):\n"
        + textwrap.indent(code, " " * 4)
        + "\ndef load():\n    return M()\n"
        "def noise(*shape):\n"
        "    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)\n"
        f"def samples():\n    {IDS}\n    return [{architecture.samples}]\n"
    )


def tensors(text: str) -> dict[str, object]:
    rows = (line.split() for line in text.splitlines())
    return {
        name: {"dtype": dtype, "shape": [int(s) if s.isdigit() else s for s in shape]}
        for name, dtype, *shape in rows
    }


REFUSED = {
    "xlnet": "EyeLike (node `/model/m/EyeLike`)",
    "image_without_batch": "first input has type UInt8",
    "tabular_of_many_dtypes": "input `numbers` (int16)",
    "graph_of_nodes_and_edges": "ScatterND with reduction is not supported",
    "arithmetic_of_small_integers": "input `b` (int16)",
}
"""What TensorRT-RTX has against an architecture's graph; it takes those that are not here."""


def asked(params: dict, folder: Path) -> str:
    """What a preflight says to what was exported: `taken`, or what is refused."""
    inputs, outputs = (
        {name: Tensor.model_validate(one) for name, one in params[side].items()}
        for side in ("inputs", "outputs")
    )
    dims = {name: Dim.model_validate(dim) for name, dim in params["dims"].items()}
    spans = profiles(inputs, dims, batched=is_batched(inputs, outputs))
    given = {"profiles": spans, "capabilities": ["8.0"]}
    graph = {"onnx": folder / "export"}
    try:
        preflight.run(Job(given, graph, folder, folder / "preflight", "preflight"))
    except WorkFailedError as error:
        return str(error.found)
    return "taken"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_exported_and_proven_at_sizes_it_was_not_exported_at(name, tmp_path):
    architecture = ARCHITECTURES[name]
    if "transformers" in architecture.body:
        pytest.importorskip("transformers")
    (tmp_path / "source.py").write_text(source(architecture))
    dims = {"batch": {"max": 8}, **architecture.dims}
    params = {
        "source": "source.py:load",
        "samples": "source.py:samples",
        "inputs": tensors(architecture.inputs),
        "outputs": tensors(architecture.outputs),
        "dims": dims,
        "opset": 20,
        "ir_version": 10,
    }
    for stage in ("reference", "export", "preflight"):
        (tmp_path / stage).mkdir()
    reference.run(Job(params, {}, tmp_path, tmp_path / "reference", name))
    inputs = {"reference": tmp_path / "reference"}
    facts = export.run(Job(params, inputs, tmp_path, tmp_path / "export", name))
    assert REFUSED.get(name, "taken") in asked(params, tmp_path)
    assert facts["way"] == architecture.way
    used = [size for t in params["inputs"].values() for size in t["shape"] if size in dims]
    assert all(len(facts["sizes"][size]) > 1 for size in used)
