"""The server does not grow under load: memory before and after a bounded soak."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from builder.validation.client import RefusedError
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from builder.validation.case import Case
    from builder.validation.verdict import Finding

    Arrays = Mapping[str, np.ndarray[Any, Any]]

SECONDS, MOST = 1.2, 200
LONGEST, FEWEST = 2.5, 40
"""A soak ends after `SECONDS`, or after `LONGEST` where it has sent fewer than `FEWEST`."""
BURST = 8
SHARE, FLOOR = 0.05, 48 * 2**20
"""Growth that is allowed in one soak: 5% of what the server holds, at least 48 MiB."""
ROUNDS = 3
"""A leak grows in every soak; what grows once was a pool finding its size."""


def memory(case: Case) -> Finding | None:
    """Resident bytes of the server's processes stay within bounds over some hundred requests."""
    rows = case.alike(BURST)
    if not rows:
        return None
    inputs = [case.sent(row.inputs) for row in rows]
    before = case.server.memory()
    if before <= 0:  # a server elsewhere does not tell
        return None
    requests = 0
    for _ in range(ROUNDS):
        start = case.server.memory()
        done = _soak(case, inputs)
        requests += done
        after = case.server.memory()
        grown, allowed = after - start, max(FLOOR, int(SHARE * start))
        if grown <= allowed:
            break
    figures = {"before_mb": _mb(before), "after_mb": _mb(after), "requests": float(requests)}
    figure = f"{_mb(before):.0f} to {_mb(after):.0f} MB over {requests} requests"
    if grown > allowed:
        return failed(
            "memory",
            f"the server's memory grew in each of {ROUNDS} soaks",
            expected=f"at most {_mb(allowed):.0f} MB in {done} requests",
            found=f"{_mb(grown):.0f} MB, {grown / done / 1e3:.0f} kB a request",
            figure=figure,
            figures=figures,
        )
    return passed("memory", figure, "steady under load", **figures)


def _soak(case: Case, inputs: Sequence[Arrays]) -> int:
    """Bursts rather than lone requests: more of them in the same time."""
    started = time.monotonic()
    done = 0
    while done < MOST:
        spent = time.monotonic() - started
        if spent > (SECONDS if done >= FEWEST else LONGEST):
            break
        for outcome in case.client.burst(case.subject.name, inputs, version=case.version.number):
            if isinstance(outcome, RefusedError) and not case.excuses(outcome):
                raise outcome
        done += len(inputs)
    return done


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
