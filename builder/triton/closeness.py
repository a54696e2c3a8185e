"""Whether an answer is what a probe expects, with the standard library alone.

The rules are those of `builder.stages.agreement`, which has NumPy: rows where the first axis is
the batch, the least cosine, the greatest difference over the golden's largest magnitude, the
share of unequal elements where these are integers, bools or strings. A test holds one against
the other.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.triton.probe import Probe
    from builder.triton.wire import Answer, Tensor

SINGLE_RELATIVE = 0.1
"""Relative bound for rows of one number, whose cosine is only a sign."""

TINY = 1e-6
"""A row this close, as a share of the largest magnitude, points the same way."""

CODES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""By the names that the wire uses, those of the module `struct`."""

FLOATS = frozenset({"FP16", "FP32", "FP64"})


def disagreement(probe: Probe, answer: Answer) -> str | None:
    """What is wrong with an answer, in a sentence; None if nothing is."""
    if answer.version != str(probe.number):
        return f"version {answer.version} answered where {probe.number} was asked"
    for expected in probe.outputs:
        name = expected.tensor.name
        found = answer.outputs.get(name)
        if found is None:
            return f"{name}: the answer does not hold this output"
        reason = difference(expected.tensor, found, expected.bounds, batched=probe.batched)
        if reason:
            return f"{name}: {reason}"
    return None


def difference(
    expected: Tensor, found: Tensor, bounds: Mapping[str, float], *, batched: bool
) -> str | None:
    """Which bound an output misses, by how much and where; None if it keeps them all."""
    if found.shape != expected.shape:
        return f"shape {list(found.shape)} where {list(expected.shape)} was expected"
    if found.datatype != expected.datatype:
        return f"dtype {found.datatype} where {expected.datatype} was expected"
    if found.data == expected.data:
        return None
    try:
        a, b = elements(expected), elements(found)
    except (ValueError, struct.error) as e:
        return f"bytes that are no {expected.datatype} {list(expected.shape)}: {e}"
    if expected.datatype not in FLOATS:
        return _exact(a, b, bounds.get("mismatch", 0.0))
    rows = expected.shape[0] if batched and expected.shape else 1
    return _odd(a, b) or _close(a, b, rows, bounds)


def elements(tensor: Tensor) -> list[Any]:
    """A tensor's elements, in order.

    Raises:
        ValueError: the bytes are not as many as its shape says.
        struct.error: likewise.
    """
    count = math.prod(tensor.shape)
    if tensor.datatype != "BYTES":
        code = CODES.get(tensor.datatype)
        if code is None:
            raise ValueError("an unknown dtype")
        return list(struct.unpack(f"<{count}{code}", tensor.data))
    found, start = [], 0
    while start < len(tensor.data):
        (length,) = struct.unpack_from("<I", tensor.data, start)
        found.append(tensor.data[start + 4 : start + 4 + length])
        start += 4 + length
    if len(found) != count or start != len(tensor.data):
        raise ValueError(f"{len(found)} strings")
    return found


def _exact(a: Sequence[Any], b: Sequence[Any], most: float) -> str | None:
    unequal = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    # A label a row has no twentieth to differ: one may
    if len(unequal) <= math.ceil(most * len(a)):
        return None
    first = unequal[0]
    return (
        f"{len(unequal)} of {len(a)} elements differ, first element {first}: "
        f"{b[first]!r} where {a[first]!r} was expected"
    )


def _odd(a: Sequence[float], b: Sequence[float]) -> str | None:
    """What is wrong with elements that are not finite."""
    for x, y in zip(a, b, strict=True):
        if math.isfinite(x) and not math.isfinite(y):
            return "elements are NaN or infinite where the golden is finite"
        if not math.isfinite(x) and x != y and not (math.isnan(x) and math.isnan(y)):
            return "NaN and infinite elements are not where the golden has them"
    return None


def _close(
    a: Sequence[float], b: Sequence[float], rows: int, bounds: Mapping[str, float]
) -> str | None:
    pairs = [(x, y) if math.isfinite(x) else (0.0, 0.0) for x, y in zip(a, b, strict=True)]
    width = len(pairs) // rows
    scale = max(abs(x) for x, _ in pairs) or 1.0
    single = width == 1
    least, limit = bounds.get("cosine"), bounds.get("relative")
    if least is not None and not single:
        cosines = [_cosine(pairs[i : i + width], scale) for i in range(0, len(pairs), width)]
        worst = min(cosines)
        if worst < least:
            return f"cosine {worst:.5f} in row {cosines.index(worst)}, at least {least}"
    if single and limit is None:
        limit = SINGLE_RELATIVE
    gaps = [abs(x - y) for x, y in pairs]
    gap = max(gaps)
    if limit is not None and gap / scale > limit:
        row, column = divmod(gaps.index(gap), width)
        x, y = pairs[gaps.index(gap)]
        return (
            f"{y:.6g} where {x:.6g} was expected (row {row}, element {column}): "
            f"off by {gap / scale:.2e} of the largest magnitude, at most {limit:g}"
        )
    return None


def _cosine(row: Sequence[tuple[float, float]], scale: float) -> float:
    if max(abs(x - y) for x, y in row) <= TINY * scale:
        return 1.0
    dot = sum(x * y for x, y in row)
    norms = math.sqrt(sum(x * x for x, _ in row)) * math.sqrt(sum(y * y for _, y in row))
    return dot / (norms or 1.0)
