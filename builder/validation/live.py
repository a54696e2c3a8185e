"""Validation of a whole repository on one live server: every check of every version.

The server was started with the repository but loaded nothing: models are loaded here, one
after the other, so that the very first request to each can be watched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.servers import causes
from builder.servers import log as logs
from builder.servers.endings import MEMORY
from builder.validation.case import Case
from builder.validation.checks import (
    accuracy,
    batching,
    config,
    data,
    latency,
    leaks,
    memory,
    numbers,
    probe,
    queue,
    readiness,
    requests,
    room,
    versions,
)
from builder.validation.client import Client, RefusedError
from builder.validation.held import Held
from builder.validation.probes import IDENTITY
from builder.validation.subject import in_load_order
from builder.validation.verdict import LEAKS, Verdict, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from builder.servers.causes import Cause
    from builder.servers.server import Server
    from builder.validation.subject import Subject, VersionSubject
    from builder.validation.verdict import Finding

    Check = Callable[[Case], Finding | None]

ENDING = 2.0
"""Seconds that a server's process may seem alive after it has ended."""
SLOW_LOAD = 30.0
SLOW_CHECK = 15.0
"""Seconds after which a load, and a check, are worth a line."""

CHECKS: Mapping[str, Check] = {
    "config": config.served_config,
    "metadata": config.served_metadata,
    "goldens": numbers.goldens,
    "version": versions.version,
    "probe": probe.probe,
    "batch": batching.batch,
    "concurrency": batching.concurrency,
    "queue": queue.queue,
    "errors": requests.errors,
    "accuracy": accuracy.accuracy,
    "memory": memory.memory,
}
"""What each loaded version is asked, in this order: the soak last, on a model that is warm."""


def validate(
    server: Server,
    subjects: Sequence[Subject],
    *,
    say: Callable[[str], None],
    again: bool = False,
) -> list[Verdict]:
    """Runs every check of every version; verdicts in the order of the subjects.

    Args:
        server: live. Where it loads on request, it has, or is sent, the repository of
            `probes.probes` beside the one under test. What it served before is not loaded anew:
            what only a fresh load can show is left out.
        subjects: what must be served.
        say: told about each version as it is done.
        again: in the end, loads and unloads each model some times, and sees what that leaves.

    Raises:
        WorkFailedError: the server died; the message says during which check of what.
    """
    verdicts: dict[tuple[str, int], Verdict] = {}
    control = server.control
    with Client.of(server) as client:
        asking = _Asking(server, client, say)
        common = asking.common() if control.loads else []
        loadings: dict[str, list[list[Finding]]] = {}
        for subject in in_load_order(subjects):
            if subject.name in control.served:
                loadings[subject.name] = []
            elif control.loads:
                loadings[subject.name] = asking.load(subject)
            else:
                loadings[subject.name] = [[readiness.absent()] for _ in subject.versions]
        for subject in subjects:
            for place, version in enumerate(subject.versions):
                found = loadings[subject.name][place] if loadings[subject.name] else []
                verdict = asking.version(subject, version, [*found, *common])
                verdicts[subject.name, version.number] = verdict
        if again:
            for subject, finding in asking.leaks(subjects):
                for version in subject.versions:
                    verdict = verdicts[subject.name, version.number]
                    verdicts[subject.name, version.number] = dataclasses.replace(
                        verdict, findings=(*verdict.findings, finding)
                    )
    return list(verdicts.values())


class _Asking:
    """One pass over one server."""

    def __init__(self, server: Server, client: Client, say: Callable[[str], None]) -> None:
        self._server = server
        self._client = client
        self._say = say
        self._held: Held | None = None
        self._empty: Held | None = None
        self._added: dict[str, Mapping[str, float]] = {}
        self._hindered: dict[str, Cause] = {}

    def common(self) -> list[Finding]:
        """What is asked of the server itself."""
        control = self._server.control
        upload, served = control.upload(IDENTITY), IDENTITY in control.served
        finding = self._guarded(
            "server", "data", lambda: data.data(self._client, upload=upload, served=served)
        )
        return [finding] if finding else []

    def load(self, subject: Subject) -> list[list[Finding]]:
        """Loads a model; per version, whether it was ready in time and quick from the start."""
        if self._held is None:
            with contextlib.suppress(RefusedError):  # it is about a figure; loads will tell
                self._client.await_unloaded(IDENTITY)
            self._held = self._empty = Held.by(self._server)
        hindrance = room.hindrance(self._server, subject, self._hindered)
        if hindrance:
            self._hindered[subject.name] = hindrance
            self._say(f"{subject.name}: not loaded: {hindrance.problem}")
            loading = readiness.untried(hindrance)
            cases = [Case(self._server, self._client, subject, v) for v in subject.versions]
            return [[readiness.ready(case, loading)] for case in cases]
        before = self._held
        line = f"{subject.name}: still loading after {SLOW_LOAD:.0f} s"
        slow = threading.Timer(SLOW_LOAD, self._say, [line])
        slow.start()
        try:
            loading = readiness.load(self._client, self._server, subject)
        finally:
            slow.cancel()
        self._still_alive(subject.name, "ready")
        verb = "refused" if loading.refusal else "loaded"
        self._say(f"{subject.name}: {verb} in {loading.seconds:.1f} s")
        found = []
        for version in subject.versions:
            case = Case(self._server, self._client, subject, version)
            asked: dict[str, Callable[[Case], Finding | None]] = {
                "ready": lambda case: readiness.ready(case, loading),
                "first request": readiness.first_request,
            }
            found.append(self._all(case, asked))
        # After its first requests, since some is taken only then.
        self._held = Held.by(self._server)
        if not loading.refusal:
            added = self._held.since(before).figures()
            self._added[subject.name] = {
                **added,
                **(self._empty.of_server() if self._empty else {}),
            }
        return found

    def leaks(self, subjects: Sequence[Subject]) -> Iterator[tuple[Subject, Finding]]:
        """Models that were loaded here, loaded again and again; all are unloaded then."""
        control = self._server.control
        mine = [s for s in subjects if control.loads and s.name not in control.served]
        for subject in mine:
            if subject.ensemble:  # which holds nothing but its members
                with contextlib.suppress(RefusedError):  # as it does where it never loaded
                    self._client.unload(subject.name)
                    self._client.await_unloaded(subject.name)
        for subject in mine:
            if subject.ensemble or subject.name not in self._added:
                continue
            finding = self._guarded(
                subject.name,
                LEAKS,
                lambda subject=subject: leaks.leaks(self._server, self._client, subject),  # type: ignore[misc]
            )
            if finding is None:
                self._say("what the server holds cannot be seen: no leaks were looked for")
                return
            self._say(f"{subject.name}: {finding.figure}")
            yield subject, finding

    def version(self, subject: Subject, version: VersionSubject, before: list[Finding]) -> Verdict:
        """The verdict on one version; `before` is what its load and its server have shown."""
        case = Case(self._server, self._client, subject, version)
        started = time.monotonic()
        findings, figures = list(before), {}
        if all(f.passed for f in before if f.check == "ready"):
            findings += self._all(case, CHECKS)
            if all(f.passed for f in findings):
                figures = self._figures(case)
        verdict = Verdict(
            subject.name,
            version.version,
            version.number,
            self._server.name,
            tuple(findings),
            figures,
            self._added.get(subject.name, {}),
        )
        self._still_alive(f"{subject.name} {version.version}", "latency")
        took = time.monotonic() - started
        bad = ", ".join(f.check for f in verdict.failures)
        outcome = f"failed: {bad}" if bad else f"passed {len(findings)} checks"
        self._say(f"{subject.name} {version.version}: {outcome} ({took:.1f} s)")
        return verdict

    def _figures(self, case: Case) -> dict[str, float]:
        """Latencies for the report; none where the server refuses, for they are no check."""
        try:
            return dict(latency.figures(case))
        except RefusedError:
            self._still_alive(f"{case.subject.name} {case.version.version}", "latency")
            return {}

    def _all(self, case: Case, checks: Mapping[str, Check]) -> list[Finding]:
        """Runs checks in order; a version that is not ready is asked nothing else."""
        found: list[Finding] = []
        for name, check in checks.items():
            where = f"{case.subject.name} {case.version.version}"
            finding = self._guarded(where, name, lambda check=check: check(case))  # type: ignore[misc]
            if finding:
                found.append(finding)
            if finding and name == "ready" and not finding.passed:
                break
        return found

    def _guarded(
        self, where: str, name: str, check: Callable[[], Finding | None]
    ) -> Finding | None:
        """A check's finding with its time; an unexpected refusal is a finding as well."""
        started = time.monotonic()
        try:
            finding = check()
        except RefusedError as refusal:
            self._still_alive(where, name)
            short = readiness.starved(self._server)
            finding = failed(
                name,
                "the server refused a right request" + (f": {short.problem}" if short else ""),
                expected="an answer",
                found=f"{refusal}; {short.found}" if short else refusal,
                fix=short.fix if short else None,
            )
        self._still_alive(where, name)
        seconds = round(time.monotonic() - started, 3)
        if seconds > SLOW_CHECK:
            self._say(f"{where}: {name} took {seconds:.0f} s")
        return None if finding is None else dataclasses.replace(finding, seconds=seconds)

    def _outlives(self) -> bool:
        """Whether a server that does not answer is there all the same, and not just ending."""
        deadline = time.monotonic() + ENDING
        while self._server.alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        return self._server.alive()

    def _still_alive(self, where: str, check: str) -> None:
        if self._server.alive() and self._client.live():
            return
        alive = self._outlives()
        log = self._server.log()
        sample = (
            readiness.failed_sample(log.rpartition('"loading: ')[2]) if check == "ready" else None
        )
        problem = "the server died during validation"
        if sample:  # Triton 24.10 dies of about every third warm-up that fails
            problem = f"warm-up sample '{sample}' failed, and the server died of it"
        ended = "" if alive else self._server.ended()
        fix = "read the end of its log, below; the model's code or its backend has crashed it"
        known = causes.of(causes.evidence(log, where.partition(" ")[0]))
        if known:
            problem, fix = f"{problem}: {known.problem}", known.fix
        if MEMORY in ended:
            fix = "raise `memory` of the target's `container`, or leave it out"
        raise WorkFailedError(
            problem,
            where=f"{where}, check {check}",
            found="it no longer answers" if alive else f"its process has ended: {ended}",
            expected="a server that outlives every request",
            fix=fix,
            detail=logs.last_words(log),
        )
