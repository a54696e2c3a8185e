"""What an agent that was killed must know when it comes back. Pure.

It lies in `.DIR.agent/state.json`, written before what it speaks of is done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

SCHEMA = 1
PROVEN = 1000
"""Versions that are remembered as proven; the oldest are forgotten."""


@dataclass(frozen=True)
class Position:
    """Where a channel stands.

    Attributes:
        release: the release that it names.
        mark: tells this position from the same release at another time.
    """

    release: str
    mark: str


@dataclass(frozen=True)
class Refusal:
    """A position that was tried, and is not tried again.

    Attributes:
        reason: in a word, as the metrics count it.
        text: in a sentence.
        at: when, seconds of the epoch.
    """

    position: Position
    reason: str
    text: str
    at: float


@dataclass(frozen=True)
class State:
    """What survives.

    Attributes:
        good: the last release whose answers were right; "" for none.
        moving: the release that the folder and the server are being brought to; "" for none.
        refused: the position that was refused last.
        stamp: the last stamp that was given out.
        proven: versions that were tried on this server, by digest; the latest last.
    """

    good: str = ""
    moving: str = ""
    refused: Refusal | None = None
    stamp: int = 0
    proven: tuple[str, ...] = ()

    def refuses(self, position: Position) -> bool:
        """Whether a position was tried, and found wanting."""
        return self.refused is not None and self.refused.position == position

    def with_proven(self, keys: set[str]) -> State:
        """The state that remembers these too."""
        others = [key for key in self.proven if key not in keys]
        return replace(self, proven=(*others, *sorted(keys))[-PROVEN:])

    def encode(self) -> bytes:
        """The state as a file."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2).encode()


def decode(content: bytes) -> State:
    """Reads a state; an empty one out of what is none: all of it can be found out again."""
    try:
        value = json.loads(content)
        if value.pop("schema") != SCHEMA:
            return State()
        refused = value.pop("refused")
        proven = tuple(value.pop("proven"))
        refusal = refused and Refusal(**{**refused, "position": Position(**refused["position"])})
        return State(**value, refused=refusal, proven=proven)
    except (ValueError, KeyError, TypeError, AttributeError):
        return State()
