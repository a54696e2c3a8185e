"""Samples at other sizes: real rows and real values, cut, repeated and stacked anew.

An export is made at one set of sizes. Whether it holds at others is asked with inputs that
the model could meet: nothing random, which an embedding or an index would not survive.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.spec.tensor import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from builder.stages.usercode.signature import Signature

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]
    Sizes = Mapping[str, int]

LEAST = 2
"""Sizes 0 and 1 mean something special to exporters: examples stay above where they can."""


def dynamic(signature: Signature) -> list[str]:
    """The named dimensions of the inputs whose size can differ, in the spec's order."""
    names = dict.fromkeys(
        size for t in signature.inputs.values() for size in t.shape if isinstance(size, str)
    )
    return [n for n in names if n not in signature.dims or _low(signature, n) < _high(signature, n)]


def resized(samples: Sequence[Arrays], signature: Signature, sizes: Sizes) -> dict[str, Array]:
    """Inputs of these sizes out of the samples' own values.

    Rows of the batch come from all samples in turn; other axes repeat or end early.
    """
    rows, samples = sizes.get(BATCH), _full(samples)
    whole = [
        {
            name: _cyclic(sample[name], tensor.shape, sizes)
            for name, tensor in signature.inputs.items()
        }
        for sample in samples[: max(rows or 1, 1)]
    ]
    found = {}
    for name, tensor in signature.inputs.items():
        if rows is not None and BATCH in tensor.shape:
            axis = tensor.shape.index(BATCH)
            stack = np.concatenate([sample[name] for sample in whole], axis=axis)
            found[name] = stack.take(np.arange(rows) % max(stack.shape[axis], 1), axis=axis)
        else:
            found[name] = whole[0][name]
    return found


def examples(samples: Sequence[Arrays], signature: Signature) -> Iterator[dict[str, int]]:
    """Sizes to export at, the likeliest to come out general first.

    Distinct sizes for distinct dimensions, none of them 0 or 1, where the bounds let them.
    """
    own = signature.sizes(_full(samples)[0])
    names = dynamic(signature)
    seen: list[dict[str, int]] = []
    for step in (0, 1, 3):
        sizes, used = dict(own), {v for k, v in own.items() if k not in names}
        for name in names:
            first = max(own[name], LEAST) + step
            candidates = itertools.chain(range(first, first + 8), range(first - 1, 0, -1))
            fitting = [
                c for c in candidates if _low(signature, name) <= c <= _high(signature, name)
            ]
            free = [c for c in fitting if c not in used]
            sizes[name] = (free or fitting or [own[name]])[0]
            used.add(sizes[name])
        seen.append(sizes)
    batch = {n: seen[0][n] for n in names if n == BATCH}
    doubled = {n: min(own[n] * 2, _high(signature, n)) for n in names}
    yield from (seen[0], own | batch, *seen[1:], own | doubled, own)


def one_apart(
    samples: Sequence[Arrays], signature: Signature, used: Sizes
) -> Iterator[tuple[str, dict[str, int]]]:
    """Each dimension with sizes that are as at the export, but for that dimension."""
    own = signature.sizes(_full(samples)[0])
    for name in dynamic(signature):
        for wanted in ((own[name] * 2,), (own[name] // 2,), (_low(signature, name),)):
            if (size := _near(signature, name, used[name], wanted)) != used[name]:
                yield name, {**used, name: size}


def others(
    samples: Sequence[Arrays], signature: Signature, used: Sizes
) -> list[list[dict[str, int]]]:
    """Sizes to prove at, none as at the export: groups, of which the first that runs counts.

    One group has everything at its least, one everything larger, and each goes on to one
    dimension at a time, for models that want some dimensions to go together.
    """
    own = signature.sizes(_full(samples)[0])
    names = dynamic(signature)
    if not names:
        return []
    small = {n: _near(signature, n, used[n], (_low(signature, n), own[n] // 2)) for n in names}
    large = {n: _near(signature, n, used[n], (own[n] * 2, own[n] + 1, own[n] - 1)) for n in names}
    halved = {n: _near(signature, n, used[n], (own[n] // 2, own[n] * 2)) for n in names}
    base = dict(used)
    return [
        [base | small, base | halved, *({**base, n: small[n]} for n in names)],
        [
            base | large,
            *({**base, n: large[n]} for n in names),
            *({**base, n: halved[n]} for n in names),
        ],
    ]


def _near(signature: Signature, name: str, used: int, wanted: tuple[int, ...]) -> int:
    """The first wanted size that is allowed and not the one used, else another near it."""
    low, high = max(_low(signature, name), 1), _high(signature, name)
    near = itertools.chain(wanted, range(used + 1, used + 8), range(used - 1, 0, -1))
    return next((n for n in near if low <= n <= high and n != used), used)


def _low(signature: Signature, name: str) -> int:
    return signature.dims[name].min if name in signature.dims else 1


def _high(signature: Signature, name: str) -> int:
    return signature.dims[name].max if name in signature.dims else 1 << 30


def _full(samples: Sequence[Arrays]) -> Sequence[Arrays]:
    """The samples that hold anything; all of them if none does."""
    return [s for s in samples if all(a.size for a in s.values())] or samples


def _cyclic(array: Array, shape: Sequence[int | str], sizes: Sizes) -> Array:
    for axis, size in enumerate(shape):
        wanted = sizes.get(size, array.shape[axis]) if isinstance(size, str) else array.shape[axis]
        if size != BATCH and wanted != array.shape[axis] and array.shape[axis]:
            array = array.take(np.arange(wanted) % array.shape[axis], axis=axis)
    return array
