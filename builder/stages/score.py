"""A model's answers held against its goldens, over all samples and outputs.

`agreement` compares one answer; here are the totals, and how much of the tolerance
they use up, by which recipes are ranked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import WorkFailedError
from builder.spec.tensor import Tensor, is_batched
from builder.spec.tolerance import OutputTolerance, Tolerance, resolve
from builder.stages.agreement import Agreement, compare, share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.spec.tolerance import Precision
    from builder.stages.goldens import Arrays, Golden


@dataclass(frozen=True)
class Standard:
    """What answers must meet: bounds by output, and whether the first axis is the batch."""

    bounds: Mapping[str, OutputTolerance]
    batched: bool

    @classmethod
    def of(cls, params: Mapping[str, Any], precision: Precision) -> Standard:
        """The standard that a stage's parameters describe."""
        layers = [Tolerance.model_validate(layer) for layer in params["tolerance"]]
        inputs, outputs = (
            {name: Tensor.model_validate(tensor) for name, tensor in params[side].items()}
            for side in ("inputs", "outputs")
        )
        bounds = {name: resolve(precision, name, *layers) for name in outputs}
        return cls(bounds, is_batched(inputs, outputs))


@dataclass(frozen=True)
class Miss:
    """A bound that one answer does not keep."""

    sample: int
    output: str
    reason: str


@dataclass(frozen=True)
class Score:
    """Figures by output, what was missed, and the share of the tolerance used (1: all)."""

    figures: Mapping[str, Mapping[str, float]]
    misses: tuple[Miss, ...]
    used: float

    def summary(self) -> str:
        """The figures in one line, for messages."""
        return "; ".join(
            f"{name}: " + ", ".join(f"{kind} {value:.5g}" for kind, value in figures.items())
            for name, figures in self.figures.items()
        )


def score(goldens: Sequence[Golden], answers: Iterable[Arrays], standard: Standard) -> Score:
    """Compares every answer with its golden."""
    found: dict[str, list[Agreement]] = {name: [] for name in standard.bounds}
    misses: list[Miss] = []
    used = 0.0
    for number, (golden, answer) in enumerate(zip(goldens, answers, strict=True)):
        for name, bounds in standard.bounds.items():
            if name not in answer or name not in golden.outputs:
                raise WorkFailedError(
                    "the model does not answer with a declared output",
                    found=", ".join(answer),
                    expected=name,
                    fix="name it in outputs: as the model does",
                )
            one = compare(golden.outputs[name], answer[name], bounds, batched=standard.batched)
            found[name].append(one)
            used = max(used, share(one, bounds, single=golden.outputs[name].shape[-1:] == (1,)))
            if one.reason is not None:
                misses.append(Miss(number, name, one.reason))
    for name, bounds in standard.bounds.items():
        sizes = [golden.outputs[name].size for golden in goldens]
        unequal = round(sum(a.mismatch * n for a, n in zip(found[name], sizes, strict=True)))
        if unequal > max(1, (bounds.mismatch or 0.0) * sum(sizes)) and not misses:
            reason = f"{unequal} of {sum(sizes)} elements differ over all samples"
            misses.append(Miss(len(goldens) - 1, name, reason))
    return Score(
        {name: _figures(each) for name, each in found.items() if each}, tuple(misses), used
    )


def _figures(each: Sequence[Agreement]) -> dict[str, float]:
    figures = {
        "cosine_min": min(one.cosine for one in each),
        "cosine_mean": float(np.mean([one.cosine for one in each])),
        "relative": max(one.relative for one in each),
    }
    if mismatch := max(one.mismatch for one in each):  # of the worst sample
        figures["mismatch"] = mismatch
    return {kind: round(value, 6) for kind, value in figures.items()}
