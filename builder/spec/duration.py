"""Durations as specs write them: `2ms`, `500us`, `1.5s`; held in microseconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000}
_PATTERN = re.compile(r"^(\d+(?:\.\d+)?)\s*(us|ms|s|m)$")


def microseconds(text: Any) -> int:
    """Reads a duration.

    Raises:
        ValueError: it is no number with a unit.
    """
    match = _PATTERN.match(text) if isinstance(text, str) else None
    if not match:
        raise ValueError("not a duration; expected a number with a unit: 500us, 2ms, 1.5s, 1m")
    value = float(match[1]) * _UNITS[match[2]]
    if value * 1000 >= 2**63:
        raise ValueError("too long; expected less than 292 years, 64 bits of nanoseconds")
    return round(value)


Duration = Annotated[
    int,
    BeforeValidator(microseconds),
    WithJsonSchema({"type": "string", "pattern": _PATTERN.pattern, "examples": ["2ms"]}),
]
