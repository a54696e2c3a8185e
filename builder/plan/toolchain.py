"""Which tools can change the output of which stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOOLS: Mapping[str, tuple[str, ...]] = {
    "reference": ("numpy", "torch"),
    "export": ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "torch"),
    "int8": ("numpy", "onnx", "onnxruntime"),
    "fp16": ("numpy", "onnx", "onnxruntime"),
    "qdq": ("numpy", "onnx", "onnxruntime"),
    "preflight": ("tensorrt-rtx",),
    "tensorrt": (),  # it must be the release's, which the action says
    "prove": (),
    "python": (),
    "heldout": ("numpy",),
    "config": ("numpy", "protobuf", "tritonclient"),
}
"""Distributions by stage, beside Python and the builder's own code for the stage."""


@dataclass(frozen=True)
class Toolchain:
    """Versions as they are on this machine.

    Attributes:
        python: `3.11`.
        distributions: version by distribution name; what is not installed is missing.
        code: digest of the builder's own code by stage.
        runtime: what the target's server is made of, by name.
    """

    python: str
    distributions: Mapping[str, str]
    code: Mapping[str, str]
    runtime: Mapping[str, str]

    def of(self, stage: str, requires: Sequence[str] = ()) -> dict[str, str]:
        """The tools of a stage with their versions, and those a spec requires."""
        names = sorted({*TOOLS[stage], *requires})
        tools = {name: self.distributions.get(name, "not installed") for name in names}
        tools["python"] = self.python
        tools["builder"] = self.code[stage]
        if stage == "prove":
            tools |= {f"server {name}": version for name, version in self.runtime.items()}
        return tools
