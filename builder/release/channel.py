"""A channel: a movable name of a release, and the moves that it made. Pure.

A promotion puts a release on top; a rollback goes back to one below. So two rollbacks in a row go
back two releases, and not back and forth.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from builder.errors import InputError, WorkFailedError
from builder.release import layout

SCHEMA = 1
KEPT = 500
"""Moves that a channel remembers."""

Action = Literal["promote", "rollback"]


@dataclass(frozen=True)
class Move:
    """One move of a channel.

    Attributes:
        release: where it went.
        at: when: UTC, ISO 8601, to the second.
        by: whose doing it was, as far as the mover's machine said.
        action: what was done.
    """

    release: str
    at: str
    by: str
    action: Action


@dataclass(frozen=True)
class Channel:
    """A channel as it stands.

    Attributes:
        name: what it is called.
        target: the target of all of its releases; pods of one kind follow it.
        history: its moves, the oldest first; never empty.
    """

    name: str
    target: str
    history: tuple[Move, ...]

    @property
    def release(self) -> str:
        """Where it stands."""
        return self.history[-1].release

    def below(self) -> list[str]:
        """What a rollback can go back to, the nearest first."""
        stack: list[str] = []
        for move in self.history:
            if move.action == "rollback" and move.release in stack:
                while stack[-1] != move.release:
                    stack.pop()
            elif not stack or stack[-1] != move.release:
                stack.append(move.release)
        return stack[-2::-1]

    def since(self, moment: datetime) -> set[str]:
        """The releases that it named then or later."""
        named = set[str]()
        for number, move in enumerate(self.history, 1):
            last = number == len(self.history)
            ended = datetime.max.replace(tzinfo=UTC) if last else when(self.history[number])
            if ended >= moment:
                named.add(move.release)
        return named

    def moved(self, move: Move) -> Channel:
        """The channel after a move."""
        return Channel(self.name, self.target, (*self.history, move)[-KEPT:])

    def encode(self) -> bytes:
        """Its one form."""
        value = {
            "schema": SCHEMA,
            "channel": self.name,
            "target": self.target,
            "release": self.release,
            "history": [asdict(move) for move in self.history],
        }
        return json.dumps(value, indent=2).encode() + b"\n"


def decode(content: bytes, name: str, where: str) -> Channel:
    """Reads a channel, which may come from a store that lies.

    Raises:
        WorkFailedError: it is none of that name that this version understands.
    """
    try:
        value = json.loads(content)
        if value["schema"] != SCHEMA:
            raise WorkFailedError(
                "the channel is of another schema",
                where=where,
                found=value["schema"],
                expected=SCHEMA,
                fix="use the version of triton-builder that wrote it, or a newer one",
            )
        found = Channel(value["channel"], value["target"], tuple(map(_move, value["history"])))
        if found.name != name:
            raise ValueError(f"it calls itself {found.name!r:.100}")  # noqa: TRY301
        if not found.history or found.release != value["release"]:
            raise ValueError("its history does not end where it stands")  # noqa: TRY301
        return Channel(name, _line(found.target), found.history)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise WorkFailedError(
            "not a channel",
            where=where,
            found=f"{type(e).__name__}: {e}",
            fix="see who wrote it; remove that object, and promote a release to the channel anew",
        ) from e


def _move(value: dict[str, Any]) -> Move:
    fields: dict[str, Any] = {name: _line(one) for name, one in value.items()}
    move = Move(**fields)
    if not layout.is_release(move.release) or move.action not in get_args(Action):
        raise ValueError(f"no move: {value!r:.200}")
    return move


def _line(value: object) -> str:
    """Text that a terminal can show."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"no text: {value!r:.100}")
    return value


def when(move: Move) -> datetime:
    """When a move was made; a clock that wrote nonsense counts as now."""
    try:
        found = datetime.fromisoformat(move.at)
    except ValueError:
        return datetime.now(UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def back(channel: Channel, to: str | None) -> str:
    """Where a rollback goes.

    Args:
        channel: as it stands.
        to: a release that it has been at; None for the one before.

    Raises:
        InputError: there is none before, or it never was there.
    """
    below = channel.below()
    if to is None:
        if not below:
            raise InputError(
                f"channel {channel.name} has nothing to go back to",
                found=f"{channel.release} is its first release",
                fix=f"triton-builder promote RELEASE {channel.name}",
            )
        return below[0]
    if to not in {move.release for move in channel.history}:
        raise InputError(
            f"channel {channel.name} never was at this release",
            found=to,
            expected=", ".join(below[:3]) or "one that it was at",
            fix=f"triton-builder promote {to[:19]} {channel.name}",
        )
    return to
