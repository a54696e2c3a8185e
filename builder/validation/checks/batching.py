"""A request's answer does not depend on its company, and company really forms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from builder.validation.case import first_reason, stacked, worst
from builder.validation.client import RefusedError
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from builder.stages.agreement import Agreement
    from builder.stages.goldens import Golden
    from builder.validation.case import Case
    from builder.validation.verdict import Finding

    Arrays = Mapping[str, np.ndarray[Any, Any]]

BATCH = 8
BURST = 16
ROUNDS = 40
SECONDS = 5.0
"""How long a batch is waited for: a model of microseconds on a machine that is busy with other
things may well answer a whole burst one by one."""

SETTLING = 20
SLOW = 0.25
"""Seconds a lone request may take before bursts are halved: checks are bounded."""


def batch(case: Case) -> Finding | None:
    """Each row of a batched answer is what the row alone gets."""
    rows = case.alike(min(BATCH, case.subject.max_batch)) if case.batches else []
    if len(rows) < 2:  # noqa: PLR2004 - a batch is two
        return None
    alone = _alone(case, rows)
    answer = case.ask(stacked(rows)).outputs
    known: list[Agreement] = []
    for place, expected in enumerate(alone):
        own = {name: array[place : place + 1] for name, array in answer.items()}
        found = case.agreement(expected, own, case.company())
        known += found.values()
        reason = first_reason(found)
        if reason:
            return failed(
                "batch",
                f"row {place} of a batch of {len(rows)} is answered unlike the row alone",
                expected=f"the lone answer, within the company bounds of {case.version.precision}",
                found=reason,
                figures=worst(known),
            )
    figures = worst(known)
    figure = f"batch of {len(rows)}: least cosine {figures['cosine']:.5f}"
    return passed("batch", figure, "a batch equals its single requests", **figures)


def concurrency(case: Case) -> Finding | None:
    """Concurrent requests get the lone answers; a dynamic batcher does form batches."""
    rows = case.alike(BURST)
    if not rows:
        return None
    started = time.monotonic()
    alone = _alone(case, rows[:1])
    if time.monotonic() - started > SLOW:
        rows = rows[: BURST // 2]
    alone += _alone(case, rows[1:])
    batcher = case.config.WhichOneof("scheduling_choice") == "dynamic_batching" and case.batches
    before = _counts(case)
    known: list[Agreement] = []
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        wrong = _burst(case, rows, alone, known)
        if wrong:
            return wrong
        after = _counts(case)
        if not batcher or _largest(before, after) > 1 or time.monotonic() > deadline:
            break
    executed = after["executions"] - before["executions"]
    sent = rounds * len(rows)
    figures = worst(known) | {"requests": sent, "executions": executed}
    largest = _largest(before, after)
    if batcher and largest < 2:  # noqa: PLR2004 - a batch is two
        return failed(
            "concurrency",
            "the dynamic batcher formed no batch out of concurrent requests of one shape",
            expected=f"fewer than {sent} executions for {sent} requests",
            found=f"{executed} executions",
            figures=figures,
        )
    if not batcher:
        figure = f"{sent} requests at once"
        return passed("concurrency", figure, "concurrent answers are the lone ones", **figures)
    figure = f"{sent} requests in {executed} executions, batches up to {largest}"
    reason = "batches form, and concurrent answers are the lone ones"
    return passed("concurrency", figure, reason, **figures, largest=largest)


def _burst(
    case: Case, rows: Sequence[Golden], alone: Sequence[Arrays], known: list[Agreement]
) -> Finding | None:
    requests = [case.sent(row.inputs) for row in rows]
    outcomes = case.client.burst(case.subject.name, requests, version=case.version.number)
    answered = 0
    for place, (outcome, expected) in enumerate(zip(outcomes, alone, strict=True)):
        if isinstance(outcome, RefusedError):
            if case.excuses(outcome):
                continue
            return failed(
                "concurrency",
                f"request {place} of {len(rows)} concurrent ones was refused",
                expected="an answer",
                found=outcome,
            )
        found = case.agreement(expected, case.received(outcome.outputs), case.company())
        known += found.values()
        reason = first_reason(found)
        answered += 1
        if reason:
            return failed(
                "concurrency",
                f"request {place} of {len(rows)} concurrent ones is answered unlike it alone",
                expected=f"the lone answer, within the company bounds of {case.version.precision}",
                found=reason,
                figures=worst(known),
            )
    if not answered:
        return failed(
            "concurrency",
            "every one of the concurrent requests waited longer than its queue timeout",
            expected=f"answers to {len(rows)} requests at once",
            found="none",
        )
    return None


def _alone(case: Case, rows: Sequence[Golden]) -> list[Arrays]:
    """The lone answers; rows that repeat are asked once."""
    kept: dict[int, Arrays] = {}
    for row in rows:
        if id(row) not in kept:
            kept[id(row)] = case.ask(row.inputs).outputs
    return [kept[id(row)] for row in rows]


def _counts(case: Case) -> dict[str, Any]:
    """The statistics once they stand still: they lag a little behind the answers."""
    known: dict[str, Any] = {}
    for _ in range(SETTLING):
        stats = case.client.statistics(case.subject.name, case.version.number)
        fresh = {
            "executions": stats.execution_count,
            "sizes": {entry.batch_size: entry.compute_infer.count for entry in stats.batch_stats},
        }
        if fresh == known:
            break
        known = fresh
        time.sleep(0.02)
    return known


def _largest(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    grown = [size for size, n in after["sizes"].items() if n > before["sizes"].get(size, 0)]
    return max(grown, default=0)
