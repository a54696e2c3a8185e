"""Figures for the report: how quick this server was on this machine. Never an outcome."""

from __future__ import annotations

import math
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from builder.validation.case import stacked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.validation.case import Case

ALONE, MOST = 0.8, 300
TOGETHER, STREAMS = 0.8, 8
LARGE = 0.5
FEWEST = 3


def figures(case: Case) -> Mapping[str, float]:
    """Milliseconds of lone requests, and rows a second alone, at concurrency 8, in batches."""
    rows = case.alike(STREAMS)
    if not rows:
        return {}
    lone = _timed(lambda: case.ask(rows[0].inputs), ALONE)
    found = {
        "p50_ms": statistics.median(lone),
        "p99_ms": percentile(lone, 0.99),
        "alone_per_s": 1000 / statistics.fmean(lone),
        "requests": float(len(lone)),
    }
    end = time.monotonic() + TOGETHER

    def stream(place: int) -> int:
        done = 0
        while time.monotonic() < end:
            case.ask(rows[place].inputs)
            done += 1
        return done

    started = time.monotonic()
    with ThreadPoolExecutor(STREAMS) as streams:
        answered = sum(streams.map(stream, range(STREAMS)))
    found["concurrent_per_s"] = answered / (time.monotonic() - started)
    if case.batches:
        size = case.subject.max_batch
        together = stacked(case.alike(size))
        times = _timed(lambda: case.ask(together), LARGE, fewest=1)
        found["batch_per_s"] = size * 1000 / statistics.fmean(times)
        found["batch_size"] = float(size)
    return {name: round(value, 3) for name, value in found.items()}


def percentile(values: list[float], share: float) -> float:
    """The least value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _timed(action: Callable[[], object], seconds: float, fewest: int = FEWEST) -> list[float]:
    end = time.monotonic() + seconds
    times: list[float] = []
    while len(times) < fewest or (time.monotonic() < end and len(times) < MOST):
        started = time.perf_counter()
        action()
        times.append((time.perf_counter() - started) * 1000)
    return times
