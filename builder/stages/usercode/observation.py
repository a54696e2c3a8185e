"""All that running a user's Python took: files, variables of the environment, hazards."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.stages.usercode.hazards import watching
from builder.stages.usercode.reads import named, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.stages.usercode.blame import Place
    from builder.stages.usercode.hazards import Hazard

VARIABLE = "environment:"
"""How the name of a variable begins among an action's reads."""


@dataclass(frozen=True)
class Observation:
    """What was seen of some calls. Observations add up with `|`.

    Attributes:
        files: those that were read.
        variables: names of the environment that the user's own code read.
        hazards: what of it makes the result not reproducible.
    """

    files: frozenset[Path] = frozenset()
    variables: frozenset[str] = frozenset()
    hazards: frozenset[Hazard] = frozenset()

    def __or__(self, other: Observation) -> Observation:
        return Observation(
            self.files | other.files,
            self.variables | other.variables,
            self.hazards | other.hazards,
        )

    def facts(self, project: Path) -> dict[str, object]:
        """The facts `reads` and `unstable` of an action, in names that hold on any machine.

        `reads`: see `reads.named`; and `environment:NAME` for a variable.
        `unstable`: rows of `what`, `call` and `where`; see `Hazard`.
        """
        return {
            "reads": named(self.files, project)
            + [f"{VARIABLE}{v}" for v in sorted(self.variables)],
            "unstable": [
                {"what": h.what, "call": h.call, "where": h.where} for h in sorted(self.hazards)
            ],
        }


@contextmanager
def observing(place: Place) -> Iterator[Callable[[], Observation]]:
    """Sees what happens meanwhile; the function that it gives tells, once it is over."""
    with recording(place.path.parent) as record, watching(place.project) as watch:
        yield lambda: Observation(
            frozenset(record.files()), frozenset(watch.variables), watch.found()
        )
