"""What validation says: findings, one a check, gathered into one verdict a version."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


LEAKS = "leaks"
"""A check that is made where it is asked for, and that no build asks for."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: its name: `goldens`, `batching`.
        passed: the outcome.
        figure: what was measured, for people: `least cosine 0.99998 over 40 answers`.
        figures: the same as numbers, units in the names.
        reason: why it failed, one sentence; what was established where it passed.
        expected: what would have passed, where it failed.
        found: what was met instead.
        fix: what to do, where that is known.
        seconds: how long the check took.
    """

    check: str
    passed: bool
    figure: str
    figures: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    expected: str | None = None
    found: str | None = None
    fix: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What one version did on one server.

    Attributes:
        latency: figures for the report, never part of the outcome: they belong to the
            machine that measured them. Empty where none were taken.
        memory: what the load of the model, all of its versions, has added to the server:
            `host_mb`, `gpu_mb`; and what that held before any load: `server_mb`. Likewise for the
            report alone, and empty where nobody could tell.
    """

    model: str
    version: str
    number: int
    server: str
    findings: tuple[Finding, ...]
    latency: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check passed; without a single check nothing is proven."""
        return bool(self.findings) and all(f.passed for f in self.findings)

    def without(self, check: str) -> Verdict:
        """The same, as if a check had not been made."""
        kept = tuple(f for f in self.findings if f.check != check)
        return replace(self, findings=kept)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The checks that failed."""
        return tuple(f for f in self.findings if not f.passed)


def passed(check: str, figure: str, reason: str, **figures: float) -> Finding:
    """A finding for what held."""
    return Finding(check, passed=True, figure=figure, figures=figures, reason=reason)


def failed(  # noqa: PLR0913 - the parts of a finding, by name
    check: str,
    reason: str,
    *,
    expected: object,
    found: object,
    figure: str = "",
    figures: Mapping[str, float] | None = None,
    fix: str | None = None,
) -> Finding:
    """A finding for what did not hold: what would have, what was met instead, and what to do."""
    return Finding(
        check,
        passed=False,
        figure=figure or str(found),
        figures=figures or {},
        reason=reason,
        expected=str(expected),
        found=str(found),
        fix=fix,
    )
