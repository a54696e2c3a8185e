"""How well two answers agree, and whether that is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from builder.spec.tolerance import OutputTolerance

    Array = np.ndarray[Any, Any]

SINGLE_RELATIVE = 0.1
"""Relative bound for rows of one number, whose cosine is only a sign."""


@dataclass(frozen=True)
class Agreement:
    """The figures of one output. `reason` is None where they are within the bounds.

    Attributes:
        cosine: least cosine over the rows (1.0 for integers, bools and strings).
        relative: greatest absolute difference over the golden's largest magnitude.
        mismatch: share of unequal elements (integers, bools, strings), else 0.
        reason: which bound was missed, by how much and where; None if none was.
    """

    cosine: float
    relative: float
    mismatch: float
    reason: str | None = None


def compare(expected: Array, actual: Array, bounds: OutputTolerance, *, batched: bool) -> Agreement:
    """Compares an answer with its golden, row by row where the first axis is the batch.

    A cosine over a whole batch would hide one bad row among good ones.
    """
    if expected.shape != actual.shape:
        reason = f"shape {list(actual.shape)} where {list(expected.shape)} was expected"
        return Agreement(-1.0, float("inf"), 1.0, reason)
    strings = expected.dtype.kind in "OSU" and actual.dtype.kind in "OSU"
    if expected.dtype != actual.dtype and not strings:
        reason = f"dtype {actual.dtype} where {expected.dtype} was expected"
        return Agreement(-1.0, float("inf"), 1.0, reason)
    if expected.size == 0:
        return Agreement(1.0, 0.0, 0.0)
    if expected.dtype.kind != "f":
        return _exact(_bytes(expected), _bytes(actual), bounds)
    return _close(expected, actual, bounds, batched=batched)


def words(bounds: OutputTolerance) -> str:
    """The bounds for people: `cosine at least 0.98, mismatch at most 0.05`."""
    signs = {"cosine": "at least", "relative": "at most", "mismatch": "at most"}
    asked = bounds.model_dump(exclude_none=True)
    return ", ".join(f"{name} {signs[name]} {value:g}" for name, value in asked.items())


def share(one: Agreement, bounds: OutputTolerance, *, single: bool) -> float:
    """How much of its bounds an answer uses up, 1 being all; `single` for rows of one number."""
    limit = SINGLE_RELATIVE if single and bounds.relative is None else bounds.relative
    pairs = [(one.mismatch, bounds.mismatch), (one.relative, limit)]
    if bounds.cosine is not None:
        pairs.append((1 - one.cosine, 1 - bounds.cosine))
    shares = [gap / max(bound, 1e-9) for gap, bound in pairs if bound is not None and gap > 0]
    worst = max(shares, default=0.0)
    return worst if one.reason is None else max(worst, 1.0 + 1e-9)


def _exact(expected: Array, actual: Array, bounds: OutputTolerance) -> Agreement:
    unequal = np.asarray(expected != actual)
    share = float(unequal.mean())
    reason: str | None = None
    # A label a row has no twentieth to differ: one may, and `score` counts over all samples
    if int(unequal.sum()) > math.ceil((bounds.mismatch or 0.0) * unequal.size):
        at = np.unravel_index(int(unequal.argmax()), unequal.shape)
        place = [int(i) for i in at]
        reason = (
            f"{int(unequal.sum())} of {unequal.size} elements differ, "
            f"first at {place}: {actual[at]!r} where {expected[at]!r} was expected"
        )
    return Agreement(1.0, 0.0, share, reason)


def _close(expected: Array, actual: Array, bounds: OutputTolerance, *, batched: bool) -> Agreement:
    rows = expected.shape[0] if batched and expected.ndim else 1
    a = expected.astype(np.float64).reshape(rows, -1)
    b = actual.astype(np.float64).reshape(rows, -1)
    odd = ~np.isfinite(a)
    if not np.array_equal(odd, ~np.isfinite(b)) or not np.array_equal(
        a[odd], b[odd], equal_nan=True
    ):
        bad = int((~np.isfinite(b) & ~odd).sum())
        odd_reason = f"{bad} elements are NaN or infinite where the golden is finite"
        if not bad:
            odd_reason = "NaN and infinite elements are not where the golden has them"
        return Agreement(-1.0, float("inf"), 1.0, odd_reason)
    a, b = np.where(odd, 0.0, a), np.where(odd, 0.0, b)
    scale = float(np.abs(a).max()) or 1.0
    gaps = np.abs(a - b)
    relative = float(gaps.max()) / scale
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    tiny = gaps.max(axis=1) <= 1e-6 * scale
    cosines = np.where(tiny, 1.0, (a * b).sum(axis=1) / np.where(norms > 0, norms, 1.0))
    single = a.shape[1] == 1
    cosine = 1.0 if single else float(cosines.min())
    limit = bounds.relative
    if single and limit is None:
        limit = SINGLE_RELATIVE
    reason: str | None = None
    if bounds.cosine is not None and cosine < bounds.cosine:
        reason = f"cosine {cosine:.5f} in row {int(cosines.argmin())}, at least {bounds.cosine}"
    elif limit is not None and relative > limit:
        row, column = divmod(int(gaps.argmax()), a.shape[1])
        reason = (
            f"{b[row, column]:.6g} where {a[row, column]:.6g} was expected (row {row}, element "
            f"{column}): off by {relative:.2e} of the largest magnitude, at most {limit:g}"
        )
    return Agreement(cosine, relative, 0.0, reason)


def _bytes(array: Array) -> Array:
    if array.dtype.kind not in "OSU":
        return array
    flat = [t.encode() if isinstance(t, str) else bytes(t) for t in array.ravel().tolist()]
    texts = np.empty(len(flat), dtype=object)
    texts[:] = flat
    return texts.reshape(array.shape)
