"""Held-out examples with their labels, for the accuracy gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import InputError
from builder.stages import goldens
from builder.stages.usercode import source

if TYPE_CHECKING:
    from builder.stages.job import Job

LABELS = "labels"


def run(job: Job) -> dict[str, object]:
    """Writes one golden: all rows as inputs, and their labels as the output `labels`.

    Raises:
        InputError: `accuracy.data` gives something else than ({input: rows}, labels).
    """
    function = source.function(job.params["data"], job.project)
    answer, observed = source.invoke(function, doing="reading the held-out data")
    inputs, labels = _checked(answer, job.params["inputs"], job.params["data"])
    goldens.write(job.out / goldens.FILE, [goldens.Golden(inputs, {LABELS: labels})])
    return {"rows": len(labels), **observed.facts(job.project)}


def _checked(answer: Any, declared: Any, where: str) -> tuple[dict[str, Any], Any]:
    expected = f"({{{', '.join(declared)}: all rows}}, labels as int64 [rows])"
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], dict)):  # noqa: PLR2004 - a pair
        raise InputError(
            "not held-out data", where=where, found=type(answer).__name__, expected=expected
        )
    inputs, labels = answer[0], np.asarray(answer[1])
    rows = {name: len(array) for name, array in inputs.items()}
    right = set(inputs) == set(declared) and labels.dtype.kind in "iu" and labels.ndim == 1
    if not right or any(count != len(labels) for count in rows.values()) or not len(labels):
        found = f"inputs {rows}, labels {labels.dtype} {list(labels.shape)}"
        raise InputError("not held-out data", where=where, found=found, expected=expected)
    for name, array in inputs.items():
        if str(array.dtype) != declared[name]["dtype"]:
            raise InputError(
                f"held-out `{name}` has another dtype than the spec",
                where=where,
                found=array.dtype,
                expected=declared[name]["dtype"],
            )
    return inputs, labels.astype(np.int64)
