"""Sizes as specs and options write them: `500MB`, `12GB`; held in bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_PATTERN = re.compile(rf"^(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})$")


def size(text: Any) -> int:
    """Reads a size.

    Raises:
        ValueError: it is no number with a unit.
    """
    match = _PATTERN.match(text) if isinstance(text, str) else None
    if not match:
        raise ValueError("not a size; expected a number with a unit: 500MB, 12GB, 1.5GiB")
    bytes_ = float(match[1]) * _UNITS[match[2]]
    if bytes_ >= 2**63:
        raise ValueError("too large; expected less than 8 EiB, 63 bits of bytes")
    return round(bytes_)


Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema({"type": "string", "pattern": _PATTERN.pattern, "examples": ["12GB"]}),
]
