"""How far an answer may lie from its golden, by precision and by output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from builder.spec.tensor import Frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

Precision = Literal["fp32", "fp16", "int8"]


class OutputTolerance(Frozen):
    """Bounds for one output; what is None is not asked for.

    Attributes:
        cosine: least cosine between a row of the answer and the golden's row.
        relative: greatest absolute difference, as a share of the golden's largest magnitude.
        mismatch: greatest share of unequal elements, for integer, bool and string outputs. Above
            0, one element may always differ: an answer may be a single label.
    """

    cosine: Annotated[float, Field(ge=-1, le=1)] | None = None
    relative: Annotated[float, Field(ge=0)] | None = None
    mismatch: Annotated[float, Field(ge=0, le=1)] | None = None

    def over(self, base: OutputTolerance) -> OutputTolerance:
        """`base` with what this one sets laid over it."""
        return base.model_copy(update=self.model_dump(exclude_none=True))


class Tolerance(OutputTolerance):
    """A spec's `tolerance:`: bounds for all outputs, and overrides by output name."""

    outputs: dict[str, OutputTolerance] = Field(default_factory=dict)


DEFAULTS: Mapping[Precision, OutputTolerance] = {
    "fp32": OutputTolerance(cosine=0.9999, relative=1e-3, mismatch=0.0),
    "fp16": OutputTolerance(cosine=0.999, relative=0.03, mismatch=0.02),
    "int8": OutputTolerance(cosine=0.98, mismatch=0.05),
}
"""What a precision promises where a spec says nothing. A relative bound does not fit int8,
where one element may be far off while the row points the right way."""


def resolve(precision: Precision, output: str, *layers: Tolerance) -> OutputTolerance:
    """The bounds of one output: the precision's defaults, then each layer over them."""
    bounds = DEFAULTS[precision]
    for layer in layers:
        bounds = OutputTolerance(**layer.model_dump(exclude={"outputs"})).over(bounds)
        if output in layer.outputs:
            bounds = layer.outputs[output].over(bounds)
    return bounds
