"""TensorRT's optimisation profiles: which shapes a plan takes, and which it is made fastest for.

One profile a bucket of batch sizes. The buckets do not overlap, so that a batch has one profile,
and each is best at its largest size, where the batcher aims. Triton takes the profile whose best
shape is nearest to the batch at hand, out of those that the config names (`profile` of an instance
group in model_config.proto; it takes the first alone where none is named).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from builder.spec.tensor import BATCH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.spec.tensor import Dim, Tensor

Profile = dict[str, "Span"]
"""By input."""


class Sizes(NamedTuple):
    """The sizes that a dimension may take: least, best and most."""

    least: int
    best: int
    most: int


class Span(NamedTuple):
    """The shapes that an input may take: least, best and most."""

    least: tuple[int, ...]
    best: tuple[int, ...]
    most: tuple[int, ...]


def buckets(batch: Dim, preferred: Sequence[int] = ()) -> list[Sizes]:
    """The smallest batch alone, then up to each preferred size, then up to the largest."""
    least = max(batch.min, 1)  # a request has a row, whatever the spec lets a shape be
    ends = sorted({least, batch.max} | {p for p in preferred if least < p < batch.max})
    starts = [least, *(end + 1 for end in ends)]
    return [Sizes(start, end, end) for start, end in zip(starts, ends, strict=False)]


def profiles(
    inputs: Mapping[str, Tensor],
    dims: Mapping[str, Dim],
    *,
    batched: bool,
    preferred: Sequence[int] = (),
) -> list[Profile]:
    """The profiles of a model, the smallest batches first.

    Sizes that are no batch are best at their largest: that is what a bound on latency is about.

    Args:
        inputs: the spec's.
        dims: every named dimension of them.
        batched: whether the first dimension of all of them is Triton's batch.
        preferred: batch sizes that the batcher aims at; those out of bounds are left out.
    """
    usual = {name: Sizes(dim.min, dim.max, dim.max) for name, dim in dims.items()}
    if not batched:
        return [_profile(inputs, usual)]
    return [_profile(inputs, {**usual, BATCH: b}) for b in buckets(dims[BATCH], preferred)]


def _profile(inputs: Mapping[str, Tensor], named: Mapping[str, Sizes]) -> Profile:
    return {
        name: Span(*zip(*(_sizes(size, named) for size in tensor.shape), strict=True))
        if tensor.shape
        else Span((), (), ())
        for name, tensor in inputs.items()
    }


def _sizes(size: int | str, named: Mapping[str, Sizes]) -> Sizes:
    return named[size] if isinstance(size, str) else Sizes(size, size, size)
