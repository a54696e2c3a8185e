"""What a model's versions share: config.pbtxt, the warm-up data that it names, and their probes.

Warm-up requests are real samples: random token ids would index out of a vocabulary, and
random strings arrive empty. Triton reads a file per input (`warmup/` in the model's folder)
that holds one row and repeats it to the asked batch size. Probes are the smallest samples, with
what the reference answers: anybody may ask them again and again.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import InputError
from builder.stages import goldens
from builder.stages.goldens import Golden
from builder.triton import probe, wire
from builder.triton.config import Warmup, dims, model_config, render
from builder.triton.dtypes import BY_SPEC
from builder.triton.probe import Expected, Probe
from builder.triton.wire import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.stages.job import Job


def run(job: Job) -> dict[str, object]:
    """Writes config.pbtxt, a file per warm-up request and input, and three a version's probe.

    Inputs are the references of the versions, by number; warm-up is the last one's.
    """
    params = job.params
    samples: list[Golden] = []
    for number in params["versions"]:
        samples = goldens.read(job.inputs[str(number)] / goldens.FILE)
        asked = _probe(params, number, _smallest(samples, params))
        for name, content in probe.files(asked).items():
            (job.out / name).write_bytes(content)
    warmups = _warmups(params, samples, job.out / "warmup") if params["warmup"] else []
    config = model_config(params, warmups)
    (job.out / "config.pbtxt").write_text(render(config), encoding="utf-8")
    return {"warmup": [w.name for w in warmups]}


def _batched(params: Mapping[str, Any]) -> bool:
    return bool(params["max_batch_size"] > 0)


def _probe(params: Mapping[str, Any], number: int, golden: Golden) -> Probe:
    """What a version is asked, and what it must answer within its bounds."""
    inputs = [_tensor(n, a, params["inputs"][n], params) for n, a in golden.inputs.items()]
    outputs = [_tensor(n, golden.outputs[n], t, params) for n, t in params["outputs"].items()]
    header, body = wire.request(inputs, [output.name for output in outputs])
    bounds = params["tolerance"][str(number)]
    return Probe(
        path=probe.path(params["name"], number),
        number=number,
        header=header,
        body=body,
        batched=_batched(params),
        outputs=tuple(Expected(output, bounds[output.name]) for output in outputs),
    )


def _tensor(
    name: str, array: np.ndarray[Any, Any], declared: Mapping[str, Any], params: Mapping[str, Any]
) -> Tensor:
    """An array as it travels: Triton wants a dimension where a spec says `[batch]`."""
    axes = dims(declared["shape"], batched=_batched(params))
    shape = array.shape if axes else (*array.shape, 1)
    return Tensor(name, BY_SPEC[declared["dtype"]].wire, shape, _bytes(array))


def _smallest(samples: Sequence[Golden], params: Mapping[str, Any]) -> Golden:
    """The smallest request of one row; one with something in every tensor, where there is one.

    A row out of a larger sample has an answer of its own only where the rows' shapes do not
    depend on each other; else the whole sample is the request.
    """
    found = list(samples)
    if _batched(params):
        lone = [golden for golden in found if _rows(golden) == 1]
        varying = (n for t in params["outputs"].values() for n in t["shape"][1:])
        if lone:
            found = lone
        elif all(isinstance(size, int) for size in varying):
            found = [_first(golden) for golden in found]
    full = [golden for golden in found if all(_sizes(golden))]
    return min(full or found, key=lambda golden: sum(_sizes(golden)))


def _sizes(golden: Golden) -> list[int]:
    """The bytes of each tensor, those that only say how long strings are not counted."""
    return [_size(array) for side in (golden.inputs, golden.outputs) for array in side.values()]


def _rows(golden: Golden) -> int:
    return max(array.shape[0] for array in golden.inputs.values())


def _first(golden: Golden) -> Golden:
    """The first row of a sample, as a sample."""
    inputs, outputs = (
        {name: array[:1] for name, array in side.items()}
        for side in (golden.inputs, golden.outputs)
    )
    return Golden(inputs, outputs)


def _warmups(params: Mapping[str, Any], samples: Sequence[Golden], folder: Path) -> list[Warmup]:
    """One request for each batch size, of the largest sample: it sizes the server's buffers."""
    batched = _batched(params)
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
    return sum(_size(a[:1] if batched else a) for a in sample.inputs.values())


def _size(array: np.ndarray[Any, Any]) -> int:
    return sum(len(t) for t in array.ravel()) if array.dtype.kind == "O" else array.nbytes


def _bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Triton's raw form: little-endian, row-major; strings with a 4-byte length before each."""
    if array.dtype.kind == "O":
        return b"".join(struct.pack("<I", len(t)) + t for t in array.ravel().tolist())
    return np.ascontiguousarray(array).tobytes()
