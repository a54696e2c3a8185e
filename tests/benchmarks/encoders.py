"""Projects of transformer encoders with random weights: real exports, about 20 MB each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.projects import model

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = 256

SPEC = """
name: {name}
source: source.py:load
samples: source.py:samples
inputs:
  x: {{dtype: float32, shape: [batch, sequence, WIDTH]}}
outputs:
  y: {{dtype: float32, shape: [batch, sequence, WIDTH]}}
dims:
  batch: {{max: 8}}
  sequence: {{min: 1, max: 64}}
versions:
  "1.0": {{precision: fp32}}
"""

SOURCE = """
import numpy as np
import torch


def load():
    torch.manual_seed(SEED)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)


def samples():
    rng = np.random.default_rng(SEED)
    return [{"x": rng.normal(size=(n, 16, WIDTH)).astype(np.float32)} for n in (1, 2)]
"""


def project(root: Path, count: int, width: int = WIDTH) -> None:
    """Writes a project of encoders that differ in their weights: 19 MB at a width of 256."""
    for number in range(count):
        source = SOURCE.replace("SEED", str(number)).replace("WIDTH", str(width))
        model(root, f"encoder{number}", SPEC.replace("WIDTH", str(width)), source)
