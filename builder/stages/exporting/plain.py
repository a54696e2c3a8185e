"""Torch operators said again in plainer ones, for exporters that lack or mistake them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch


@contextmanager
def plain_operators() -> Iterator[None]:
    """Adaptive average pools over open sizes become matrix products while this lasts.

    Exporters bake their windows in; as products the windows follow from the size.
    """
    from torch.nn import functional

    names = {"adaptive_avg_pool1d": 1, "adaptive_avg_pool2d": 2, "adaptive_avg_pool3d": 3}
    before = {name: getattr(functional, name) for name in names}
    try:
        for name, axes in names.items():
            setattr(functional, name, _pool(axes))
        yield
    finally:
        for name, own in before.items():
            setattr(functional, name, own)


def translations() -> dict[Any, Any]:
    """ONNX for torch operators that the exporter's own table leaves out."""
    import torch
    from onnxscript import opset18 as op

    def sort_stable(
        values: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> Any:
        del stable  # TopK always is: of equal elements the first comes first
        size = op.Shape(values, start=dim, end=None if dim == -1 else dim + 1)
        return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)

    return {torch.ops.aten.sort.stable: sort_stable}


def _pool(axes: int) -> Any:
    def pool(input: torch.Tensor, output_size: int | Sequence[int | None]) -> torch.Tensor:  # noqa: A002
        sizes = [output_size] * axes if isinstance(output_size, int) else list(output_size)
        for axis, size in zip(range(-axes, 0), sizes, strict=True):
            if size is None:
                continue
            if size == 1:
                input = input.mean(axis, keepdim=True)  # noqa: A001
            else:
                windows = _windows(input.shape[axis], size, input)
                input = (input.transpose(axis, -1) @ windows).transpose(axis, -1)  # noqa: A001
        return input

    return pool


def _windows(length: int, count: int, like: torch.Tensor) -> torch.Tensor:
    """A matrix (length, count) whose columns average torch's adaptive windows."""
    import torch

    number = torch.arange(count)
    start = torch.div(number * length, count, rounding_mode="floor")
    end = torch.div((number + 1) * length + count - 1, count, rounding_mode="floor")
    place = torch.arange(length).unsqueeze(1)
    inside = ((place >= start) & (place < end)).to(like.dtype)
    return inside / (end - start).to(like.dtype)
