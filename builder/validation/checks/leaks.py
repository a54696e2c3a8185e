"""Loading and unloading leaves nothing behind: not in the server's memory, nor on its GPUs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.validation.held import Held, megabytes
from builder.validation.verdict import LEAKS, failed, passed

if TYPE_CHECKING:
    from builder.servers.server import Server
    from builder.validation.client import Client
    from builder.validation.subject import Subject
    from builder.validation.verdict import Finding

ROUNDS, LOADS = 3, 2
"""A leak grows in every round of loads; what grows in one was a heap finding its shape."""
SHARE = 0.02
FLOORS = {"host": 4 * 2**20, "gpu": 16 * 2**20}
"""What may stay of a load: 2% of what it has added, at least this many bytes. On 24.10 a load of
ResNet-50 leaves up to 1.4% in the server's heap, and not every time."""
SETTLING = 1.0
"""Seconds after which more is looked at again: processes may still be ending."""
WORDS = {"host": "memory", "gpu": "GPU memory"}


@dataclass(frozen=True)
class _Growth:
    """How much one kind of memory has grown in a round, and how much it may."""

    kind: str
    grown: int
    allowed: int


def leaks(server: Server, client: Client, subject: Subject) -> Finding | None:
    """Bytes after an unload stay within bounds, load after load; the model is unloaded then.

    None where nobody can tell what the server holds.

    Raises:
        RefusedError: it is not loaded a second time, or does not go.
    """
    client.unload(subject.name)
    client.await_unloaded(subject.name)
    empty = Held.by(server)
    if not empty.known:
        return None
    client.load(subject.name, server.control.upload(subject.name))
    added = Held.by(server).since(empty)
    client.unload(subject.name)
    client.await_unloaded(subject.name)
    first = after = Held.settled(server)
    loads, worst = 0, None
    for _ in range(ROUNDS):
        before = after
        for _ in range(LOADS):
            client.load(subject.name, server.control.upload(subject.name))
            client.unload(subject.name)
            client.await_unloaded(subject.name)
        loads += LOADS
        after = Held.settled(server)
        worst = _worst(before, after, added)
        if worst:
            time.sleep(SETTLING)
            after = Held.settled(server)
            worst = _worst(before, after, added)
        if not worst:
            break
    return _finding(first, after, loads, worst)


def _worst(before: Held, after: Held, added: Held) -> _Growth | None:
    """The kind of memory that has grown by more than it may; None if none has."""
    grown = after.since(before)
    found = [
        _Growth(kind, more, LOADS * max(FLOORS[kind], int(SHARE * (getattr(added, kind) or 0))))
        for kind in FLOORS
        if (more := getattr(grown, kind)) is not None
    ]
    return next((growth for growth in found if growth.grown > growth.allowed), None)


def _finding(first: Held, last: Held, loads: int, worst: _Growth | None) -> Finding:
    figures: dict[str, float] = {"loads": float(loads)}
    lines = []
    for kind in FLOORS:
        size, end = getattr(first, kind), getattr(last, kind)
        if size is None or end is None:
            continue
        prefix = "" if kind == "host" else f"{kind}_"
        figures |= {f"{prefix}before_mb": megabytes(size), f"{prefix}after_mb": megabytes(end)}
        lines.append(f"{WORDS[kind]} {megabytes(size):.0f} to {megabytes(end):.0f} MB")
    figure = f"{' and '.join(lines)} over {loads} loads"
    if worst is None:
        return passed(LEAKS, figure, "an unload gives back what the load took", **figures)
    return failed(
        LEAKS,
        f"the server's {WORDS[worst.kind]} grew with every load, and unloads did not give it back",
        expected=f"at most {worst.allowed / LOADS / 1e6:.1f} MB a load left behind",
        found=f"{worst.grown / LOADS / 1e6:.1f} MB a load, in each of {ROUNDS} rounds",
        figure=figure,
        figures=figures,
    )
