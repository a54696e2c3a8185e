"""When something that failed is due again."""

from __future__ import annotations

import random
import time

SLOWEST = 600.0
"""Seconds between tries of what fails again and again."""


class Backoff:
    """Each time later, up to `SLOWEST`.

    Args:
        first: seconds until the second try.
    """

    def __init__(self, first: float) -> None:
        self._first = first
        self._count = 0
        self._next = 0.0

    def due(self) -> bool:
        """Whether it may be tried."""
        return time.monotonic() >= self._next

    def failed(self) -> None:
        """It failed again."""
        wait = min(SLOWEST, self._first * 2**self._count)
        self._count = min(self._count + 1, 20)
        self._next = time.monotonic() + wait * random.uniform(0.8, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """It did not; or it is another thing now."""
        self._count, self._next = 0, 0.0
