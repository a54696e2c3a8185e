"""config.pbtxt of a model, and the warm-up data that it names.

Warm-up requests are real samples: random token ids would index out of a vocabulary, and
random strings arrive empty. Triton reads a file per input (`warmup/` in the model's folder)
that holds one row and repeats it to the asked batch size.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import InputError
from builder.stages import goldens
from builder.triton.config import Warmup, model_config, render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.stages.goldens import Golden
    from builder.stages.job import Job


def run(job: Job) -> dict[str, object]:
    """Writes config.pbtxt, and a file per warm-up request and input."""
    warmups: list[Warmup] = []
    if "reference" in job.inputs:
        samples = goldens.read(job.inputs["reference"] / goldens.FILE)
        warmups = _warmups(job.params, samples, job.out / "warmup")
    config = model_config(job.params, warmups)
    (job.out / "config.pbtxt").write_text(render(config), encoding="utf-8")
    return {"warmup": [w.name for w in warmups]}


def _warmups(params: Mapping[str, Any], samples: Sequence[Golden], folder: Path) -> list[Warmup]:
    """One request for each batch size, of the largest sample: it sizes the server's buffers."""
    batched = params["max_batch_size"] > 0
    largest = max(range(len(samples)), key=lambda i: _volume(samples[i], batched=batched))
    folder.mkdir()
    inputs = {}
    for name, array in samples[largest].inputs.items():
        row = array[:1] if batched else array
        data = _bytes(row)
        if not data:
            raise InputError(
                f"sample {largest} has no elements in `{name}`, so it cannot warm the model up",
                where=params["where"],
                fix="add a sample with elements, or write `warmup: []`",
            )
        file = f"{name}.bin"
        (folder / file).write_bytes(data)
        axes = list(row.shape[1:] if batched else row.shape) or [1]
        inputs[name] = (params["inputs"][name]["dtype"], axes, file)
    return [Warmup(f"sample-{largest}-batch-{size}", size, inputs) for size in params["warmup"]]


def _volume(sample: Golden, *, batched: bool) -> int:
    rows = (a[:1] if batched else a for a in sample.inputs.values())
    return sum(sum(len(t) for t in r.ravel()) if r.dtype.kind == "O" else r.nbytes for r in rows)


def _bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Triton's raw form: little-endian, row-major; strings with a 4-byte length before each."""
    if array.dtype.kind == "O":
        return b"".join(struct.pack("<I", len(t)) + t for t in array.ravel().tolist())
    return np.ascontiguousarray(array).tobytes()
