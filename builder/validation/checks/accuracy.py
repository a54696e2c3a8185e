"""The accuracy gate: held-out examples through the live server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.validation.case import Case
    from builder.validation.verdict import Finding


def accuracy(case: Case) -> Finding | None:
    """The share of examples that the server classifies rightly reaches the gate."""
    gate = case.version.accuracy
    if gate is None:
        return None
    count = len(gate.labels)
    step = case.subject.max_batch if case.batches else 1
    right = 0
    for start in range(0, count, step):
        part = {name: array[start : start + step] for name, array in gate.inputs.items()}
        if not case.subject.batched:
            part = {name: array[0] for name, array in part.items()}
        answer = case.ask(part).outputs
        if gate.output not in answer:
            return failed(
                "accuracy",
                "the answer does not hold the output that the gate looks at",
                expected=gate.output,
                found=", ".join(sorted(answer)),
            )
        labels = gate.labels[start : start + step]
        right += int((predicted(answer[gate.output], len(labels)) == labels).sum())
    top1 = right / count
    figure = f"{right} of {count} right ({top1:.2%})"
    if top1 < gate.top1:
        return failed(
            "accuracy",
            "too few held-out examples are classified rightly",
            expected=f"at least {gate.top1:.2%}",
            found=figure,
            figures={"top1": top1},
        )
    return passed("accuracy", figure, f"at least {gate.top1:.2%} asked", top1=top1)


def predicted(output: np.ndarray[Any, Any], rows: int) -> np.ndarray[Any, Any]:
    """The predicted class of each row: the largest element, or an integer output's first."""
    table = output.reshape(rows, -1)
    if output.dtype.kind in "iu":
        return np.asarray(table[:, 0])
    return np.asarray(table.argmax(axis=1))
