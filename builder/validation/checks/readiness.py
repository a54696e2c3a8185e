"""Ready only after warm-up, and warm once ready.

The evidence is Triton's own: the statistics of a model that nobody has asked yet count its
warm-up runs by batch size, and say when the last of them ended (`last_inference`, ms).
"""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.servers import causes
from builder.servers.causes import Cause
from builder.servers.log import refusals
from builder.validation.client import Client, RefusedError
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.servers.server import Server
    from builder.validation.case import Case
    from builder.validation.subject import Subject
    from builder.validation.verdict import Finding

UNTRIED = "the load was not tried"
CLOCK_MS = 20.0
"""What the server may take to count a run that has ended."""
STEADY = 7
FACTOR, FLOOR_MS = 10.0, 1000.0
"""The first request may take this many medians, or this long where medians are small. A cold
start that matters (lazy loading, compilation) takes longer; a busy machine less, and so does
24.10's batcher, which lets about one lone request in a hundred wait 500 ms where there is a
queue timeout, whether the model is warm or not."""


@dataclass(frozen=True)
class Loading:
    """What was seen while a model loaded.

    Attributes:
        seconds: how long the load took.
        warmed_ms: per version number, the end of the last run that its statistics knew of when its
            ready endpoint first said yes; ms of the server's clock, which need not be ours; 0 for
            none.
        refusal: why the load failed; None if it did not.
        cause: what that means, where it is known.
    """

    seconds: float
    warmed_ms: Mapping[int, float]
    refusal: str | None = None
    cause: Cause | None = None


def load(client: Client, server: Server, subject: Subject) -> Loading:
    """Loads a model while asking, on a connection of its own, whether it is ready yet."""
    numbers = [v.number for v in subject.versions]
    seen: dict[int, float] = {}
    stop = threading.Event()

    def note(asking: Client, number: int) -> None:
        known = _warmed(asking, subject.name, number)
        if known is not None:
            seen[number] = known

    def poll() -> None:
        with Client.of(server) as asking:
            while not stop.is_set():
                for number in numbers:
                    if number not in seen:
                        note(asking, number)
                stop.wait(0.01)

    poller = threading.Thread(target=poll, name=f"ready {subject.name}")
    started = time.monotonic()
    poller.start()
    refusal, known = None, None
    try:
        client.load(subject.name, server.control.upload(subject.name))
    except RefusedError as error:
        log = server.log()
        refusal = cause(error.message, log, subject.name)
        known = starved(server) or causes.of(f"{refusal}\n{causes.evidence(log, subject.name)}")
    finally:
        seconds = time.monotonic() - started
        stop.set()
        poller.join()
    for number in numbers:
        if refusal is None and number not in seen:
            note(client, number)
    return Loading(seconds, seen, refusal, known)


def untried(known: Cause) -> Loading:
    """Of a load that cannot come to anything."""
    return Loading(0.0, {}, UNTRIED, known)


def ready(case: Case, loading: Loading) -> Finding:
    """The version became ready, and not before every warm-up sample had run."""
    if loading.refusal is not None:
        return _refused(loading.refusal, loading.cause)
    number = case.version.number
    if number not in loading.warmed_ms:
        return failed(
            "ready",
            "the load succeeded, but this version is not ready",
            expected=f"version {number} ready",
            found="not ready",
        )
    seconds = round(loading.seconds, 3)
    stats = case.client.statistics(case.subject.name, number)
    ran = {entry.batch_size: entry.compute_infer.count for entry in stats.batch_stats}
    wanted = _warmups(case)
    missing = _not_run(wanted, ran, batched=case.subject.batched)
    if missing:
        return failed(
            "ready",
            "the model was ready although not every warm-up sample had run",
            expected=f"runs of batch sizes {_sizes(wanted)} before the first request",
            found=f"runs of batch sizes {_sizes(ran)}" if ran else "no run at all",
            figures={"load_s": seconds},
        )
    warmed = loading.warmed_ms[number]
    early = stats.last_inference - warmed if wanted else 0.0
    if early > CLOCK_MS:
        return failed(
            "ready",
            "the ready endpoint said yes while warm-up was still running",
            expected="ready after the last warm-up run",
            found=f"ready {early:.0f} ms before it ended" if warmed else "ready before any of it",
            figures={"load_s": seconds},
        )
    what = f"ready after warming batch sizes {_sizes(wanted)}" if wanted else "ready, no warm-up"
    return passed("ready", f"loaded in {seconds:.1f} s", what, load_s=seconds)


def absent() -> Finding:
    """A model is not served, and the server loads none on request."""
    return failed(
        "ready",
        "the server does not serve it, and loads no models on request",
        expected="a server that serves it, or --model-control-mode=explicit",
        found="neither",
    )


def first_request(case: Case) -> Finding | None:
    """The first request takes no longer than a steady one: warm-up did its work."""
    rows = case.alike(1)
    if not rows:
        return None
    times = []
    for _ in range(STEADY + 1):
        started = time.perf_counter()
        case.ask(rows[0].inputs)
        times.append((time.perf_counter() - started) * 1000)
    first, median = times[0], statistics.median(times[1:])
    limit = max(FACTOR * median, FLOOR_MS)
    figures = {"first_ms": round(first, 3), "median_ms": round(median, 3)}
    figure = f"first {first:.1f} ms, then {median:.1f} ms"
    if first > limit:
        return failed(
            "first request",
            "the first request after ready was slow: warm-up did not warm what it uses",
            expected=f"at most {limit:.0f} ms ({FACTOR:g} medians, or {FLOOR_MS:g} ms)",
            found=f"{first:.0f} ms, the median is {median:.1f} ms",
            figure=figure,
            figures=figures,
        )
    return passed("first request", figure, "as quick as the steady ones", **figures)


def cause(message: str, log: str, model: str) -> str:
    """Why a load failed: what Triton answers, or its log where the answer only says that it did."""
    return refusals(log).get(model, message) if "failed to poll" in message else message


def failed_sample(message: str) -> str | None:
    """The warm-up sample that a load's error message blames; None if it blames none."""
    found = re.search(r"failed to run warmup sample '([^']+)'", message)
    return found.group(1) if found else None


def _warmups(case: Case) -> list[int]:
    """Every run that warm-up owes, by batch size: what the spec asks and the config says."""
    asked = Counter(case.subject.warmup)
    configured: Counter[int] = Counter()
    for sample in case.config.model_warmup:
        configured[sample.batch_size or 1] += max(1, sample.count)
    return sorted((asked | configured).elements())


def starved(server: Server) -> Cause | None:
    """That a server has run short of something, which explains whatever else it says."""
    shortage = server.shortage()
    if shortage is None:
        return None
    return Cause(
        "the server ran out of memory",
        shortage,
        "memory for the server and all its models",
        "raise `memory` of the target's `container`, or leave it out",
    )


def _refused(message: str, known: Cause | None) -> Finding:
    sample = failed_sample(message)
    reason = "the server did not load the model"
    if sample:
        reason = f"warm-up sample '{sample}' failed, which keeps the model from loading"
    if known is None:
        return failed("ready", reason, expected="a successful load", found=_short(message))
    if message == UNTRIED:
        reason = "the model would not load"
    return failed(
        "ready",
        f"{reason}: {known.problem}",
        expected=known.expected,
        found=f"{known.found} ({_short(message)})",
        fix=known.fix,
    )


def _not_run(wanted: Sequence[int], ran: Mapping[int, int], *, batched: bool) -> bool:
    if batched:
        return any(ran.get(size, 0) < wanted.count(size) for size in wanted)
    return sum(ran.values()) < len(wanted)


def _sizes(sizes: Sequence[int] | Mapping[int, int]) -> str:
    return ", ".join(str(size) for size in sorted(set(sizes)))


def _short(message: str, limit: int = 600) -> str:
    text = " ".join(message.split())
    return text if len(text) <= limit else text[:limit] + " …"


def _warmed(client: Client, model: str, number: int) -> float | None:
    """As `Loading` has it, where a version is ready now."""
    try:
        if client.ready(model, number):
            return float(client.statistics(model, number).last_inference)
    except RefusedError:
        pass
    return None
