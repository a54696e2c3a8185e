"""How long a store may take, and how much is on its way at once."""

from __future__ import annotations

from dataclasses import dataclass

PART = 8 << 20
"""Bytes of a part of a large object, both ways."""

WIDTH = 8
"""Parts of a large object on their way at once; with `PART`, what one holds in memory."""


@dataclass(frozen=True)
class Limits:
    """How long a store may take.

    Attributes:
        connect: seconds until a connection stands.
        answer: seconds until a request is answered, tries again and all, and that an answer may
            pause for.
        floor: bytes a second that large objects must come or go at, all together: a part is
            given up after `answer` and the time that `WIDTH` of its size take at this rate.
        retries: how often a request that failed is sent again, within `answer`.
    """

    connect: float = 2.0
    answer: float = 10.0
    floor: float = 1 << 20
    retries: int = 5

    def of(self, size: int) -> float:
        """Seconds that bytes may take while others like them take their share of the line."""
        return self.answer + WIDTH * size / self.floor
