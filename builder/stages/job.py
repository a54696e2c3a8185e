"""What a stage is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GOLDENS = "goldens.npy"
MODEL = "model.onnx"
"""Names of files that pass from one stage to the next."""

LAYERS = "; `triton-builder compare` shows which layer is off"
"""What a version that misses its goldens may be asked next."""


@dataclass(frozen=True)
class Job:
    """One unit of work.

    Attributes:
        params: JSON values out of the plan; exactly what the action's key was made of.
        inputs: a folder per input label ("reference", "export"), the outputs of other
            actions, read-only.
        project: the project's root; sources are named relative to it.
        out: an empty folder for the outputs.
        where: for messages: `minilm 1.1: int8`.
        runtime: the interpreter that holds the target release's ONNX Runtime, where the
            stage asked for it.
        anyway: whether the best that could be made is wanted where nothing keeps the tolerance; to
            look at, not to ship.
    """

    params: Mapping[str, Any]
    inputs: Mapping[str, Path]
    project: Path
    out: Path
    where: str
    runtime: Path | None = None
    anyway: bool = False
