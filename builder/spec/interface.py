"""What a model or an ensemble shows to the ensembles that use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.spec.tensor import is_batched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.spec.model import ModelSpec
    from builder.spec.tensor import Dim, Tensor


@dataclass(frozen=True)
class Interface:
    """What a member shows to an ensemble.

    `together` are outputs that must be asked for with all the others: wires of an ensemble that
    its steps read as well. Triton 24.10 answers a request for some of the outputs only with
    "unexpected deadlock" there (measured).
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    dims: Mapping[str, Dim]
    versions: tuple[str, ...]
    together: tuple[str, ...] = ()

    @property
    def batched(self) -> bool:
        """Whether Triton batches it."""
        return is_batched(self.inputs, self.outputs)


def of_model(spec: ModelSpec) -> Interface:
    """A model's interface."""
    return Interface(spec.inputs, spec.outputs, spec.dims, spec.served)
