"""What an agent tells Prometheus, in its text format.

Source: prometheus.io, "Exposition formats".
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "triton_builder_agent_"

STATES = ("starting", "serving", "pulling", "rehearsing", "moving", "returning", "unproven", "down")

KNOWN: Mapping[str, tuple[Literal["gauge", "counter"], str]] = {
    "info": ("gauge", "The release that is served; always 1."),
    "state": ("gauge", "1 for what the agent is at, 0 for the rest."),
    "behind": ("gauge", "1 where the channel names another release than is served."),
    "refused": ("gauge", "1 where the channel names a release that was refused."),
    "store_up": (
        "gauge",
        "1 where the store said where the channel stands when it was asked last.",
    ),
    "server_up": ("gauge", "1 where Triton answered when it was asked last."),
    "hanging_models": ("gauge", "Models whose load never ended."),
    "last_success_timestamp_seconds": (
        "gauge",
        "When the release that the channel names was last found served, and answering rightly.",
    ),
    "moves_total": ("counter", "Moves to another release that were completed."),
    "failures_total": ("counter", "What failed, by reason."),
    "downloaded_bytes_total": ("counter", "Bytes that came from the release store."),
    "seconds_sum": ("counter", "Seconds that the parts of moves took."),
    "seconds_count": ("counter", "How many of them there were."),
}

REASONS = (
    *("store", "channel", "pull", "disk", "server", "bug"),
    *("load", "hang", "warm-up", "probe", "died", "back"),
)
"""Of failures."""


class Metrics:
    """Figures by name and labels; safe to read and write from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for reason in REASONS:
            self.add("failures_total", 0, reason=reason)
        for name in ("moves_total", "downloaded_bytes_total"):
            self.add(name, 0)

    def set(self, name: str, value: float, **labels: str) -> None:
        """A figure as it is now."""
        with self._lock:
            self._values[name, tuple(sorted(labels.items()))] = value

    def add(self, name: str, value: float = 1, **labels: str) -> None:
        """More of what is counted."""
        key = name, tuple(sorted(labels.items()))
        with self._lock:
            self._values[key] = self._values.get(key, 0) + value

    def only(self, name: str, **labels: str) -> None:
        """1 with these labels, and no other figure of that name."""
        with self._lock:
            for key in [key for key in self._values if key[0] == name]:
                del self._values[key]
        self.set(name, 1, **labels)

    def at(self, state: str) -> None:
        """What the agent is at."""
        for one in STATES:
            self.set("state", float(one == state), state=one)

    def render(self) -> str:
        """All figures."""
        with self._lock:
            values = dict(self._values)
        lines = []
        for name, (kind, meaning) in KNOWN.items():
            rows = sorted((labels, value) for (own, labels), value in values.items() if own == name)
            if rows:
                lines += [f"# HELP {PREFIX}{name} {meaning}", f"# TYPE {PREFIX}{name} {kind}"]
            lines += [f"{PREFIX}{name}{_labels(labels)} {_number(value)}" for labels, value in rows]
        return "\n".join(lines) + "\n"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    shown = (f'{name}="{_escaped(value)}"' for name, value in labels)
    return "{" + ",".join(shown) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
