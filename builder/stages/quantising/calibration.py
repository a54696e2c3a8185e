"""What activations come to while the samples run: ranges by channel, and magnitudes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.stages import artifact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx

    from builder.stages.goldens import Golden

    Array = np.ndarray[Any, Any]

SAMPLES = 32
"""Samples that calibration runs: ranges settle early, and every run costs."""

ROWS = 128
PER_SAMPLE = 8
"""Rows that are kept of an activation, in all and of one sample."""


@dataclass(frozen=True)
class Range:
    """Least and greatest value of each channel, the last axis of an activation.

    `rows` are the first few that were seen, as [rows, channels].
    """

    low: Array
    high: Array
    rows: Array

    @property
    def magnitude(self) -> Array:
        """Greatest absolute value of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def lopsided(self) -> bool:
        """Whether one sign spans so little that a symmetric scale would waste a bit."""
        low, high = float(-self.low.min()), float(self.high.max())
        return min(low, high) < max(low, high) / 3

    def over(self, other: Range) -> Range:
        """The range that spans both."""
        rows = np.concatenate([self.rows, other.rows])[:ROWS]
        return Range(np.minimum(self.low, other.low), np.maximum(self.high, other.high), rows)


def ranges(
    model: onnx.ModelProto, names: Sequence[str], samples: Sequence[Golden]
) -> dict[str, Range]:
    """The range of each named activation's channels."""
    seen: dict[str, Range] = {}
    for name, value in watched(model, names, samples):
        rows = np.nan_to_num(value.reshape(-1, value.shape[-1]))
        one = Range(rows.min(axis=0), rows.max(axis=0), rows[:PER_SAMPLE].copy())
        seen[name] = seen[name].over(one) if name in seen else one
    return seen


def magnitudes(
    model: onnx.ModelProto, names: Sequence[str], samples: Sequence[Golden]
) -> dict[str, float]:
    """The greatest absolute value of each named activation."""
    seen: dict[str, float] = {}
    for name, value in watched(model, names, samples):
        most = float(np.abs(np.nan_to_num(value)).max())
        seen[name] = max(seen.get(name, 0.0), most)
    return seen


def watched(
    model: onnx.ModelProto, names: Sequence[str], samples: Sequence[Golden]
) -> Iterator[tuple[str, Array]]:
    """Runs the samples, and gives what each holds of the named activations, if that is anything.

    The model is left as it was.
    """
    import onnx

    graph = model.graph
    own = [output.name for output in graph.output]
    inputs = {value.name for value in graph.input}
    inner = [name for name in names if name not in inputs and name not in own]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    try:
        running = artifact.session(model)
    finally:
        del graph.output[len(own) :]
    asked = [name for name in names if name not in inputs]
    wanted = {tensor.name for tensor in running.get_inputs()}
    for sample in samples[:SAMPLES]:
        feed = artifact.feed(sample.inputs, wanted)
        values = dict(zip(asked, running.run(asked, feed), strict=True) if asked else ())
        values.update({name: feed[name] for name in names if name in feed})
        yield from ((name, value) for name, value in values.items() if value.size)
