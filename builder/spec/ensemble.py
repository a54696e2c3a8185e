"""ensemble.yaml: models wired into one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from builder.spec.model import Name, Slo
from builder.spec.tensor import Dim, Frozen, Tensor, is_batched
from builder.spec.tolerance import Tolerance
from builder.spec.version import Version


class Step(Frozen):
    """One member: its inputs read wires, its outputs write wires.

    Attributes:
        model: a model or another ensemble.
        version: one of its versions; None takes the highest that is served.
        inputs: the member's input → the wire that it reads.
        outputs: the member's output → the wire that it writes.
    """

    model: Name
    version: Version | None = None
    inputs: Annotated[dict[str, str], Field(min_length=1)]
    outputs: Annotated[dict[str, str], Field(min_length=1)]


class EnsembleSpec(Frozen):
    """One ensemble. Its goldens are its members' references, wired the same way."""

    name: Name
    description: str = ""
    version: Version
    inputs: Annotated[dict[str, Tensor], Field(min_length=1)]
    outputs: Annotated[dict[str, Tensor], Field(min_length=1)]
    dims: dict[str, Dim] = Field(default_factory=dict)
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    tolerance: Tolerance = Tolerance()
    slo: Slo = Slo()

    @property
    def batched(self) -> bool:
        """Whether its tensors carry Triton's batch dimension."""
        return is_batched(self.inputs, self.outputs)
