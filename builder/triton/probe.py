"""Probes: one golden inference of each version, in the tree of its model, for anybody to ask.

Beside config.pbtxt lie, for a version 1001000:

    probe.1001000.json       where to post, how long the header is, and what must come
    probe.1001000.request    the exact body
    probe.1001000.expected   the bytes of the outputs, one after the other, as they must come

so that a shell with curl can ask what the builder asked, and say whether that very model
answers. No folder of their own: Triton warns of every folder in a model that is neither a
version nor one of its own. What makes an answer good enough is `builder.triton.closeness`'s.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.triton.wire import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCHEMA = 1
PREFIX = "probe."
"""How the names of a model's files begin that Triton has no use for."""


@dataclass(frozen=True)
class Expected:
    """One output: what the reference says, and how far from it an answer may lie.

    Attributes:
        bounds: `cosine`, `relative`, `mismatch`, as `tolerance` in a spec; what is not there is
            not asked for.
    """

    tensor: Tensor
    bounds: Mapping[str, float]


@dataclass(frozen=True)
class Probe:
    """One golden inference.

    Attributes:
        path: where it is posted: `/v2/models/minilm/versions/1001000/infer`.
        number: the version that must answer.
        header: bytes of the body that are JSON.
        body: what is posted.
        batched: whether the first axis of outputs is the batch: bounds hold for each row.
        outputs: what must come, in the order of the request.
    """

    path: str
    number: int
    header: int
    body: bytes
    batched: bool
    outputs: tuple[Expected, ...]


def path(model: str, number: int) -> str:
    """Where a version's inferences are posted."""
    return f"/v2/models/{model}/versions/{number}/infer"


def names(number: int) -> tuple[str, str, str]:
    """The files of a version's probe in its model's folder: what must come, request, outputs."""
    one, other, third = (f"{PREFIX}{number}.{kind}" for kind in ("json", "request", "expected"))
    return one, other, third


def files(probe: Probe) -> dict[str, bytes]:
    """A probe as files; equal probes give equal bytes."""
    said = {
        "schema": SCHEMA,
        "path": probe.path,
        "version": str(probe.number),
        "header": probe.header,
        "batched": probe.batched,
        "outputs": [
            {
                "name": expected.tensor.name,
                "datatype": expected.tensor.datatype,
                "shape": list(expected.tensor.shape),
                "size": len(expected.tensor.data),
                "bounds": dict(expected.bounds),
            }
            for expected in probe.outputs
        ],
    }
    description, request, outputs = names(probe.number)
    text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
    data = b"".join(expected.tensor.data for expected in probe.outputs)
    return {description: text.encode(), request: probe.body, outputs: data}


def read(number: int, load: Callable[[str], bytes], where: str) -> Probe:
    """The probe of a version.

    Args:
        number: which version.
        load: gives a file of the model's folder by its name.
        where: the model's folder, for messages.

    Raises:
        WorkFailedError: there is none, or not one that this version understands.
    """
    try:
        description, request, outputs = (load(name) for name in names(number))
        return _decode(number, json.loads(description), request, outputs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        missing = isinstance(e, FileNotFoundError)
        raise WorkFailedError(
            f"there is no probe of version {number}" if missing else "not a probe",
            where=f"{where}/{names(number)[0]}",
            found="no such file" if missing else f"{type(e).__name__}: {e}",
            fix="build again: triton-builder build",
        ) from e


def _decode(number: int, said: Mapping[str, Any], request: bytes, outputs: bytes) -> Probe:
    if (said["schema"], said["version"]) != (SCHEMA, str(number)):
        raise ValueError(f"schema {said['schema']} of version {said['version']}")
    return Probe(
        path=str(said["path"]),
        number=number,
        header=int(said["header"]),
        body=request,
        batched=bool(said["batched"]),
        outputs=tuple(_outputs(said["outputs"], outputs)),
    )


def _outputs(said: list[Mapping[str, Any]], data: bytes) -> list[Expected]:
    found, start = [], 0
    for output in said:
        end = start + int(output["size"])
        shape = tuple(int(n) for n in output["shape"])
        tensor = Tensor(str(output["name"]), str(output["datatype"]), shape, data[start:end])
        found.append(Expected(tensor, dict(output["bounds"])))
        start = end
    if start != len(data):
        raise ValueError(f"{len(data)} bytes of outputs where {start} are spoken of")
    return found
