"""A request that waited too long is rejected, not served late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.validation.case import first_reason
from builder.validation.client import RefusedError
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.validation.case import Case
    from builder.validation.verdict import Finding

IMPATIENT = 12
TIMEOUT_US = 1


def queue(case: Case) -> Finding | None:
    """Requests that may wait a microsecond are rejected; patient ones beside them answered.

    The config allows requests to shorten the queue timeout; no request passes the queue in
    a microsecond, so rejection does not depend on how quick the machine is.
    """
    if case.subject.timeout_us is None or case.subject.ensemble:
        return None
    rows = case.alike(IMPATIENT)
    if not rows:
        return None
    case.ask(rows[0].inputs)  # patient, it is answered
    requests = [case.sent(row.inputs) for row in rows]
    # A patient request first: the others meet a busy model.
    outcomes = case.client.burst(
        case.subject.name,
        [requests[0], *requests],
        version=case.version.number,
        timeouts_us=[None, *([TIMEOUT_US] * len(requests))],
    )
    rejected = 0
    for place, (row, outcome) in enumerate(zip([rows[0], *rows], outcomes, strict=True)):
        if isinstance(outcome, RefusedError):
            rejected += place > 0
            if not outcome.late:
                return failed(
                    "queue",
                    "a request was refused for another reason than its queue timeout",
                    expected="UNAVAILABLE: Request timeout expired",
                    found=outcome,
                )
            continue
        found = case.agreement(row.outputs, case.received(outcome.outputs), case.company())
        reason = first_reason(found)
        if reason:
            return failed(
                "queue",
                "beside rejected requests, one was answered wrongly",
                expected="the golden",
                found=reason,
            )
    if not rejected:
        return failed(
            "queue",
            "no request was rejected although its queue timeout had passed",
            expected=f"rejections among {len(rows)} requests that may wait {TIMEOUT_US} µs",
            found="every one was served late",
        )
    figure = f"{rejected} of {len(rows)} impatient requests rejected"
    return passed("queue", figure, "late requests are rejected", rejected=rejected)
