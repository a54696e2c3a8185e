"""The answers are the goldens', over both protocols."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder.stages.agreement import words
from builder.validation.case import first_reason, worst
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.stages.agreement import Agreement
    from builder.stages.goldens import Golden
    from builder.validation.case import Case
    from builder.validation.client import Protocol
    from builder.validation.verdict import Finding

SECONDS = {"grpc": 2.0, "http": 1.0}
"""How long each protocol is asked; the first golden always is."""
PROTOCOLS: tuple[Protocol, ...] = ("grpc", "http")


def goldens(case: Case) -> Finding:
    """Answers lie within tolerance of the reference outputs, per row, over gRPC and HTTP."""
    if not case.version.goldens:
        return failed(
            "goldens",
            "this version has no goldens, so nothing can be proven",
            expected="at least one golden",
            found="none",
        )
    known: list[Agreement] = []
    for protocol in PROTOCOLS:
        deadline = time.monotonic() + SECONDS[protocol]
        for place, golden in enumerate(case.version.goldens):
            if place and time.monotonic() > deadline:
                break
            found = _agreement(case, golden, protocol)
            known += found.values()
            reason = first_reason(found)
            if reason:
                return failed(
                    "goldens",
                    f"golden {place} over {protocol}, output {reason}",
                    expected=_bounds(case, reason.partition(":")[0]),
                    found=reason.partition(": ")[2],
                    figures=worst(known),
                )
    figures = worst(known)
    figure = (
        f"{len(known)} outputs: least cosine {figures['cosine']:.5f}, "
        f"greatest difference {figures['relative']:.1e}"
    )
    return passed("goldens", figure, "within tolerance over gRPC and HTTP", **figures)


def _agreement(case: Case, golden: Golden, protocol: Protocol) -> dict[str, Agreement]:
    answer = case.ask(golden.inputs, protocol=protocol)
    return case.agreement(golden.outputs, answer.outputs, case.version.tolerance)


def _bounds(case: Case, output: str) -> str:
    bounds = case.version.tolerance.get(output)
    return (words(bounds) if bounds else "") or "equal elements"
