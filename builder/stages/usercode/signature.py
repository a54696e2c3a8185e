"""A model's inputs and outputs as arrays must have them, and the checks of real arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from builder.errors import InputError
from builder.spec.tensor import BATCH, Dim, Frozen, Tensor, is_batched

if TYPE_CHECKING:
    from collections.abc import Mapping

    Array = np.ndarray[Any, Any]


class Signature(Frozen):
    """Inputs, outputs and the bounds of their named dimensions."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    dims: dict[str, Dim] = Field(default_factory=dict)

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Signature:
        """The signature among a job's parameters."""
        return cls.model_validate({key: params.get(key, {}) for key in cls.model_fields})

    @property
    def batched(self) -> bool:
        """Whether the first axis of everything is the batch."""
        return is_batched(self.inputs, self.outputs)

    @property
    def rows(self) -> bool:
        """Whether the first axis of every output is the batch, which comparisons go by."""
        return all(t.shape[:1] == (BATCH,) for t in self.outputs.values())

    def sizes(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        """The sizes that input arrays, already checked, give the named dimensions."""
        return {
            size: actual
            for name, tensor in self.inputs.items()
            for size, actual in zip(tensor.shape, arrays[name].shape, strict=True)
            if isinstance(size, str)
        }

    def checked_inputs(self, arrays: Mapping[str, Any], where: str, what: str) -> dict[str, Array]:
        """One sample's inputs, in the spec's order, each as the spec has it.

        Args:
            arrays: by name.
            where: the place to blame; `{name}` in it becomes the input's name.
            what: for messages: `sample 3 input`.

        Raises:
            InputError: a name is missing or too many, or dtype, rank, size or bounds are off.
        """
        return _Check(self.inputs, self.dims, where, what, {}).all(arrays)

    def checked_outputs(
        self, arrays: Mapping[str, Any], where: str, sizes: Mapping[str, int]
    ) -> dict[str, Array]:
        """One sample's outputs, likewise; `sizes` are those of its inputs."""
        return _Check(self.outputs, self.dims, where, "output", dict(sizes)).all(arrays)


def strings(array: Array) -> Array:
    """Strings as an object array of bytes, which is how Triton hands them over."""
    flat = [t.encode() if isinstance(t, str) else bytes(t) for t in array.ravel().tolist()]
    texts = np.empty(len(flat), dtype=object)
    texts[:] = flat
    return texts.reshape(array.shape)


@dataclass(frozen=True)
class _Check:
    """Arrays against one side of a signature; `sizes` grows with what is met."""

    tensors: Mapping[str, Tensor]
    dims: Mapping[str, Dim]
    where: str
    what: str
    sizes: dict[str, int]

    def all(self, arrays: Mapping[str, Any]) -> dict[str, Array]:
        names = ", ".join(map(str, arrays)) or "nothing"
        if missing := [name for name in self.tensors if name not in arrays]:
            raise InputError(
                f"{self.what} `{missing[0]}` is missing",
                where=self._place(missing[0]),
                found=names,
                expected=", ".join(self.tensors),
                fix=f"return `{missing[0]}` as well, or take it out of the spec",
            )
        if extra := [name for name in arrays if name not in self.tensors]:
            raise InputError(
                f"{self.what} `{extra[0]}` is not in the spec",
                where=self._place(extra[0]),
                found=names,
                expected=", ".join(self.tensors),
                fix=f"drop `{extra[0]}`, or declare it in the spec",
            )
        return {name: self._one(name, arrays[name]) for name in self.tensors}

    def _one(self, name: str, array: Any) -> Array:
        if not isinstance(array, np.ndarray | np.generic):
            raise InputError(
                f"{self.what} `{name}` is no numpy array",
                where=self._place(name),
                found=type(array).__name__,
                expected=f"numpy.ndarray of {self.tensors[name].dtype}",
                fix="return numpy arrays: `tensor.numpy()`, `numpy.asarray(value)`",
            )
        array = np.asarray(array)
        dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
        if dtype != self.tensors[name].dtype:
            raise InputError(
                f"{self.what} `{name}` has the wrong dtype",
                where=self._place(name),
                found=dtype,
                expected=self.tensors[name].dtype,
                fix=f"convert it (`.astype`), or write `dtype: {dtype}` in the spec",
            )
        shape = self.tensors[name].shape
        if array.ndim != len(shape):
            problem = f"has {array.ndim} dimensions where the spec has {len(shape)}"
            raise self._misshapen(name, problem, array)
        for axis, size in enumerate(shape):
            self._size(name, size, axis, array)
        return strings(array) if dtype == "string" else array

    def _size(self, name: str, size: int | str, axis: int, array: Array) -> None:
        actual = array.shape[axis]
        if isinstance(size, int):
            if size != actual:
                problem = f"has size {actual} on axis {axis} where the spec has {size}"
                raise self._misshapen(name, problem, array)
            return
        known = self.sizes.setdefault(size, actual)
        if known != actual:
            problem = f"has {size} = {actual} where another array of the sample has {known}"
            raise self._misshapen(name, problem, array)
        bounds = self.dims.get(size)
        if bounds and not bounds.min <= actual <= bounds.max:
            raise InputError(
                f"{self.what} `{name}` has {size} = {actual}, outside the bounds of `dims`",
                where=self._place(name),
                found=list(array.shape),
                expected=f"{bounds.min} to {bounds.max}",
                fix=f"widen `dims: {size}:` in the spec, or cut or pad the arrays",
            )

    def _misshapen(self, name: str, problem: str, array: Array) -> InputError:
        return InputError(
            f"{self.what} `{name}` {problem}",
            where=self._place(name),
            found=list(array.shape),
            expected=f"[{', '.join(map(str, self.tensors[name].shape))}]",
            fix="mend the array's shape, or the shape in the spec",
        )

    def _place(self, name: str) -> str:
        return self.where.replace("{name}", name)
