"""Tensors as Triton's HTTP port carries them: a JSON header, then their bytes one after the other.

The binary tensor data extension of the KServe v2 protocol, as Triton's documentation
"extension_binary_data" has it. It holds every dtype, FP16 and strings of any bytes among them,
which JSON does not. Standard library only: who asks a server in a pod has nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEADER = "Inference-Header-Content-Length"
"""The HTTP header that says how many bytes of a body are JSON; without it, all of them are."""


@dataclass(frozen=True)
class Tensor:
    """One input or output on its way.

    Attributes:
        datatype: `FP32`, `BYTES`.
        shape: as it travels, the batch included.
        data: little-endian, row-major; strings with a 4-byte length before each.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class Answer:
    """What a server gave: by which version, and outputs by name."""

    version: str
    outputs: Mapping[str, Tensor]


def request(inputs: Sequence[Tensor], outputs: Sequence[str]) -> tuple[int, bytes]:
    """The body of an inference that wants these outputs as bytes, and its header's length."""
    said = {
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(tensor.data)},
            }
            for tensor in inputs
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    header = json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode()
    return len(header), b"".join([header, *(tensor.data for tensor in inputs)])


def answer(body: bytes, header: int | None) -> Answer:
    """Reads the body of an answer.

    Args:
        body: all of it.
        header: what the header `HEADER` says; None where there is none.

    Raises:
        ValueError: it is not one, or an output did not come as bytes.
    """
    start = len(body) if header is None else header
    try:
        said: dict[str, Any] = json.loads(body[:start])
        outputs = {}
        for output in said["outputs"]:
            size = int(output["parameters"]["binary_data_size"])
            shape = tuple(int(n) for n in output["shape"])
            data = body[start : start + size]
            start += size
            outputs[output["name"]] = Tensor(output["name"], output["datatype"], shape, data)
        version = str(said["model_version"])
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError(f"an answer without {e}") from e
    if start != len(body):
        raise ValueError(f"an answer of {len(body)} bytes that speaks of {start}")
    return Answer(version, outputs)
