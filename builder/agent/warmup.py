"""What would warm a model up, as requests: out of its config, and the files that this names."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.triton import text, wire
from builder.triton.closeness import CODES
from builder.triton.wire import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.triton.text import Field

FOLDER = "warmup"
LARGEST = 48 << 20
"""Bytes of a request: Triton takes no more than 64 MB over HTTP."""


@dataclass(frozen=True)
class Warmup:
    """One request.

    Attributes:
        name: as the config says.
        header: bytes of the body that are JSON.
        body: what is posted.
    """

    name: str
    header: int
    body: bytes


def requests(folder: Path, config: str) -> Iterator[Warmup]:
    """The requests of a model's warm-up, one a batch size. One that is too large has fewer rows.

    Args:
        folder: the model's.
        config: its config.
    """
    message = text.read(config)
    batched = int(message.text("max_batch_size", "0")) > 0
    wanted = [output.text("name") for output in message.all("output")]
    for sample in message.all("model_warmup"):
        size = int(sample.text("batch_size", "0"))
        rows = [_row(folder, entry) for entry in sample.all("inputs")]
        most = LARGEST // max(1, sum(len(row.data) for row in rows))
        count = max(1, min(size, most)) if batched else 1
        if size:
            header, body = wire.request(
                [_batch(row, count if batched else 0) for row in rows], wanted
            )
            yield Warmup(sample.text("name"), header, body)


def _row(folder: Path, entry: Field) -> Tensor:
    value = entry.first("value") or entry
    shape = tuple(int(str(size)) for size in value.all("dims"))
    datatype = value.text("data_type").removeprefix("TYPE_").replace("STRING", "BYTES")
    file = value.text("input_data_file")
    data = (folder / FOLDER / file).read_bytes() if file else _zeros(datatype, shape)
    return Tensor(entry.text("key"), datatype, shape, data)


def _zeros(datatype: str, shape: tuple[int, ...]) -> bytes:
    """What Triton takes where a sample names no file: zeros, and empty strings."""
    size = 4 if datatype == "BYTES" else struct.calcsize(f"<{CODES[datatype]}")
    return bytes(size * math.prod(shape))


def _batch(row: Tensor, count: int) -> Tensor:
    if not count:
        return row
    return Tensor(row.name, row.datatype, (count, *row.shape), row.data * count)
