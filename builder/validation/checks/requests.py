"""Requests that are wrong get a clean error, and the server answers on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.validation.case import first_reason
from builder.validation.client import RefusedError
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.validation.case import Case
    from builder.validation.client import Protocol
    from builder.validation.verdict import Finding

    Arrays = Mapping[str, np.ndarray[Any, Any]]

CLEAN = {"INVALID_ARGUMENT", "NOT_FOUND", "400", "404"}
"""Statuses that blame the request; INTERNAL and 500 would be the server's own trouble."""
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")
NOWHERE = 987_654_321
"""A version number that nobody has."""


@dataclass(frozen=True)
class Wrong:
    """A request that must be refused: what is wrong with it, and what would have been right."""

    what: str
    inputs: Arrays
    version: int | None = None


def errors(case: Case) -> Finding | None:
    """Every wrong request is refused with a message, and a right one still gets its answer."""
    rows = case.alike(1)
    if not rows:
        return None
    good = case.sent(rows[0].inputs)
    largest = case.config.max_batch_size
    count = 0
    for protocol in PROTOCOLS:
        for wrong in wrong_requests(good, largest):
            refusal = _refusal(case, wrong, protocol)
            count += 1
            problem = _problem(refusal)
            if problem:
                return failed(
                    "errors",
                    f"{wrong.what} over {protocol}: {problem}",
                    expected=f"a refusal with a message, one of {', '.join(sorted(CLEAN))}",
                    found=refusal or "an answer",
                )
        answer = case.ask(rows[0].inputs, protocol=protocol)
        found = case.agreement(rows[0].outputs, answer.outputs, _bounds(case))
        reason = first_reason(found)
        if reason:
            return failed(
                "errors",
                f"after wrong requests over {protocol}, a right one gets a wrong answer",
                expected="the golden",
                found=reason,
            )
    return passed("errors", f"{count} wrong requests", "each refused cleanly, and serving goes on")


def wrong_requests(good: Arrays, largest: int) -> list[Wrong]:
    """One request for each way of being wrong, made out of a right one.

    Args:
        good: inputs of one row as they travel.
        largest: the config's max_batch_size.
    """
    name, array = next(iter(good.items()))
    rest = {key: value for key, value in good.items() if key != name}
    wrong = [
        Wrong("wrong dtype", {name: _other_dtype(array), **rest}),
        Wrong("wrong rank", {name: array[..., np.newaxis], **rest}),
        Wrong("unknown input", {**good, "no_such_input": array}),
        Wrong("missing input", rest),
        Wrong("unknown version", good, version=NOWHERE),
    ]
    if largest > 0:
        over = {key: np.repeat(value[:1], largest + 1, axis=0) for key, value in good.items()}
        wrong.append(Wrong(f"batch of {largest + 1}, {largest} allowed", over))
    return wrong


def _refusal(case: Case, wrong: Wrong, protocol: Protocol) -> RefusedError | None:
    number = case.version.number if wrong.version is None else wrong.version
    try:
        case.client.infer(case.subject.name, wrong.inputs, version=number, protocol=protocol)
    except RefusedError as refusal:
        return refusal
    return None


def _problem(refusal: RefusedError | None) -> str | None:
    if refusal is None:
        return "it was answered"
    if refusal.status not in CLEAN:
        return "it was refused uncleanly"
    return None if refusal.message else "it was refused without a message"


def _bounds(case: Case) -> Any:
    """The looser of both bounds: the right request is one row out of a golden's batch."""
    return {**case.version.tolerance, **case.company()}


def _other_dtype(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    other = np.int32 if array.dtype == np.float32 else np.float32
    return np.zeros(array.shape, other)
