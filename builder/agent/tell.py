"""What the agent tells of itself, to people and to Prometheus."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.agent.log import Log
    from builder.agent.metrics import Metrics
    from builder.errors import BuilderError

STUCK = 600.0
"""Seconds without a sign, beyond what a load may take, after which the loop hangs."""


class Teller:
    """Log and metrics together.

    Args:
        log: lines.
        metrics: figures.
        load_within: seconds that nothing may happen, since a model loads.
    """

    def __init__(self, log: Log, metrics: Metrics, load_within: float) -> None:
        self.metrics = metrics
        self._log = log
        self._limit = load_within + STUCK
        self._sign = time.monotonic()

    def say(self, text: str, event: str = "", **fields: object) -> None:
        """A line of news."""
        self.sign()
        self._log.say(text, event, **fields)

    def sign(self) -> None:
        """The loop goes on."""
        self._sign = time.monotonic()

    def healthy(self) -> tuple[bool, str]:
        """Whether it does."""
        quiet = time.monotonic() - self._sign
        if quiet > self._limit:
            return False, f"the agent's loop has not moved for {quiet:.0f} s"
        return True, "ok"

    def failed(self, reason: str, error: BuilderError | str, event: str = "failed") -> None:
        """Something failed: a line, and one more of its reason."""
        self.metrics.add("failures_total", reason=reason)
        text = str(error) if event == "bug" else " ".join(str(error).split())
        self.say(text, event, reason=reason)

    @contextmanager
    def part(self, state: str) -> Iterator[None]:
        """A part of a move: what the agent is at, and its seconds."""
        self.metrics.at(state)
        started = time.monotonic()
        self.sign()
        try:
            yield
        finally:
            self.metrics.add("seconds_sum", round(time.monotonic() - started, 3), part=state)
            self.metrics.add("seconds_count", part=state)


def short(release: str) -> str:
    """A release's name for people."""
    return release[:19]
