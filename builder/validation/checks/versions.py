"""A version answers by its number; the policy's latest answers when none is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.validation.case import first_reason
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.validation.case import Case
    from builder.validation.verdict import Finding


def version(case: Case) -> Finding | None:
    """The answer names the version asked, and holds its numbers; likewise without a number."""
    if not case.version.goldens:
        return None
    golden = case.version.goldens[0]
    number, default = case.version.number, case.subject.default
    for numbered, wanted in ((True, number), (False, default)):
        answer = case.ask(golden.inputs, numbered=numbered)
        asked = f"version {number}" if numbered else "no version"
        if answer.version != str(wanted):
            return failed(
                "version",
                f"asked for {asked}, another version answered",
                expected=f"version {wanted}",
                found=f"version {answer.version or 'unnamed'}",
            )
        if wanted != number:
            continue
        found = case.agreement(golden.outputs, answer.outputs, case.version.tolerance)
        reason = first_reason(found)
        if reason:
            return failed(
                "version",
                f"asked for {asked}, the answer names {wanted} but does not hold its numbers",
                expected=f"the golden of version {wanted}",
                found=reason,
            )
    return passed("version", f"{number}; {default} when none is asked", "versions answer as asked")
