"""What a build did when, as a file that chrome://tracing and ui.perfetto.dev draw.

The format is Chrome's trace event format: complete events (`X`) on one lane a worker, instant
events (`i`) for hits, counters (`C`) for what was running.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from builder.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.engine.run import Event

MAIN = "build"
"""The lane of what the builder itself does."""


class Trace:
    """Collects what happens; `write` gives the file."""

    def __init__(self) -> None:
        self._zero = time.perf_counter()
        self._lanes: dict[str, int] = {}
        self._events: list[dict[str, Any]] = []
        self._open: dict[str, tuple[float, Event]] = {}
        self._lane(MAIN)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Something that the builder itself does."""
        start = self._now()
        try:
            yield
        finally:
            self._span(name, MAIN, start)

    def on_event(self, event: Event) -> None:
        """News of an action."""
        if event.kind == "start":
            self._open[event.action] = (self._now(), event)
        elif event.kind in ("done", "fail"):
            start, began = self._open.pop(event.action, (self._now(), event))
            about: dict[str, Any] = {"result": event.kind, "why": began.reason}
            about |= {"memory, MB": round(event.memory / 1e6)} if event.memory else {}
            about |= {"error": event.reason} if event.kind == "fail" else {}
            self._span(event.action, event.lane or began.lane or MAIN, start, about)
        elif event.kind in ("hit", "mend"):
            where = {"pid": 1, "tid": self._lane(MAIN), "ts": self._now(), "s": "t"}
            name = f"{event.kind} {event.action}"
            self._events.append({"name": name, "cat": event.kind, "ph": "i", **where})
        if event.kind in ("start", "done", "fail"):
            running = {"actions": len(self._open)}
            self._events.append(
                {"name": "running", "ph": "C", "pid": 1, "ts": self._now(), "args": running}
            )

    def write(self, file: Path) -> None:
        """Writes all that was collected; what still runs ends now.

        Raises:
            BuilderError: the file cannot be written.
        """
        for action, (start, began) in self._open.items():
            about = {"result": "interrupted", "why": began.reason}
            self._span(action, began.lane or MAIN, start, about)
        self._open.clear()
        names = [
            {"name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": {"name": lane}}
            for lane, number in self._lanes.items()
        ]
        content = {"traceEvents": [*names, *self._events], "displayTimeUnit": "ms"}
        write_atomically(file, json.dumps(content).encode())

    def _span(
        self, name: str, lane: str, start: float, about: dict[str, Any] | None = None
    ) -> None:
        stage = name.partition(" ")[0] if lane != MAIN else "phase"
        times = {"ts": start, "dur": self._now() - start}
        place = {"pid": 1, "tid": self._lane(lane)}
        self._events.append(
            {"name": name, "cat": stage, "ph": "X", **times, **place, "args": about or {}}
        )

    def _lane(self, name: str) -> int:
        return self._lanes.setdefault(name, len(self._lanes) + 1)

    def _now(self) -> float:
        """Microseconds since the trace began."""
        return (time.perf_counter() - self._zero) * 1e6
