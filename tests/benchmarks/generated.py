"""Projects of many small models, no two alike, that build without torch."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from tests.projects import ECHO_SPEC, ensemble, model

if TYPE_CHECKING:
    from pathlib import Path

ENSEMBLES = 10
"""Every so many models, one is an ensemble of two of the others."""

MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            y = pb_utils.Tensor("y", x + {number})
            answers.append(pb_utils.InferenceResponse([y]))
        return answers
"""

SOURCE = """
import numpy as np


def samples():
    return [{{"x": np.array([[{number}, 2]], np.int32)}}]


def reference(inputs):
    return {{"y": inputs["x"] + {number}}}
"""

ENSEMBLE = """
name: {name}
version: "1.0"
inputs:  {{A: {{dtype: int32, shape: [batch, 2]}}}}
outputs: {{B: {{dtype: int32, shape: [batch, 2]}}}}
steps:
  - {{model: {first}, inputs: {{x: A}}, outputs: {{y: between}}}}
  - {{model: {second}, inputs: {{x: between}}, outputs: {{y: B}}}}
"""


def project(root: Path, count: int) -> None:
    """Writes a project of so many models, ensembles among them.

    Model 7 adds 7 to its input, so that no two share a file or a golden.
    """
    for number in range(count):
        if is_ensemble(number):
            write_ensemble(root, number)
        else:
            write_model(root, number)


def name(number: int) -> str:
    """The name of a model by its number."""
    return f"m{number:04}"


def is_ensemble(number: int) -> bool:
    """Whether a model is an ensemble."""
    return number % ENSEMBLES == ENSEMBLES - 1


def members(number: int) -> tuple[str, str]:
    """The members of an ensemble: the two models before it."""
    return name(number - 2), name(number - 1)


def write_model(root: Path, number: int) -> None:
    """Writes one model."""
    folder = model(root, name(number), ECHO_SPEC, SOURCE.format(number=number))
    (folder / "model.py").write_text(MODEL.format(number=number))


def write_ensemble(root: Path, number: int) -> None:
    """Writes one ensemble."""
    first, second = members(number)
    text = ENSEMBLE.format(name=name(number), first=first, second=second)
    ensemble(root, name(number), textwrap.dedent(text))


def change(root: Path, number: int) -> str:
    """Changes one byte of what one model serves, which no other depends on; gives its name."""
    path = root / "models" / name(number) / "model.py"
    path.write_text(path.read_text() + "#")
    return name(number)
