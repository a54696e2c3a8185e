"""What a build, or a validation, came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from builder.errors import WorkFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.flow.verdicts import Verdicts
    from builder.plan.evaluate import Record
    from builder.repository.manifest import Manifest
    from builder.validation.verdict import Verdict


@dataclass(frozen=True)
class Outcome:
    """What a build came to.

    Attributes:
        changed: False where the repository was as it should be already.
        ran: ids of the actions that were not hits.
        validated: the models that went to the server.
    """

    manifest: Manifest
    changed: bool
    ran: tuple[str, ...]
    validated: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    records: Mapping[str, Record]

    @classmethod
    def of(  # noqa: PLR0913 - its parts
        cls,
        manifest: Manifest,
        records: Mapping[str, Record],
        ran: Sequence[str],
        validated: Sequence[str],
        verdicts: Verdicts | None,
        *,
        changed: bool,
    ) -> Self:
        """The outcome with all verdicts that are known; none where no server was asked."""
        known = tuple(verdicts.known.values()) if verdicts else ()
        return cls(manifest, changed, tuple(ran), tuple(validated), known, records)


class NotProvenError(WorkFailedError):
    """Versions that the server did not pass. Holds the outcome, for the report."""

    def __init__(self, outcome: Outcome, failed: Sequence[Verdict]) -> None:
        lines = []
        for verdict in failed:
            for finding in verdict.failures:
                lines.append(
                    f"{verdict.model} {verdict.version}, {finding.check}: {finding.reason}"
                )
                lines += [f"    found     {finding.found}"] if finding.found else []
                lines += [f"    expected  {finding.expected}"] if finding.expected else []
                lines += [f"    fix       {finding.fix}"] if finding.fix else []
        names = ", ".join(f"{v.model} {v.version}" for v in failed)
        super().__init__(
            f"not proven on the live server: {names}",
            where=f"target {outcome.manifest.target}",
            detail="\n".join(lines),
            fix="mend what the checks below found; the repository is as it was before",
        )
        self.outcome = outcome

    def __reduce__(self) -> tuple[object, ...]:
        """As its root: an outcome does not travel."""
        return WorkFailedError.__reduce__(self)
