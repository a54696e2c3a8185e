"""Tensors as specs declare them: a dtype and a shape of sizes and named dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

BATCH = "batch"
"""The dimension that Triton's batcher works on, where it stands first everywhere."""

MOST = 2**31 - 1
"""The largest number that Triton's config holds for a batch, a count or a size."""

DType = Literal[
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "string",
]

Size = (
    Annotated[int, Field(ge=0, le=MOST)]
    | Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
)


class Frozen(BaseModel):
    """Every value of a spec: immutable, and no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __deepcopy__(self, _memo: object = None) -> Self:
        """A frozen value is its own copy: as a field's default it is taken as it is."""
        return self


class Tensor(Frozen):
    """One input or output. A shape entry is a size, or the name of a dimension in `dims`."""

    dtype: DType
    shape: tuple[Size, ...]


class Dim(Frozen):
    """The sizes that a named dimension may take, both ends included."""

    min: Annotated[int, Field(ge=0)] = 1
    max: Annotated[int, Field(ge=1, le=MOST)]

    @model_validator(mode="after")
    def _ordered(self) -> Dim:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


def is_batched(inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> bool:
    """Whether Triton may batch: `batch` stands first in every input and output."""
    tensors = [*inputs.values(), *outputs.values()]
    return bool(tensors) and all(t.shape[:1] == (BATCH,) for t in tensors)
