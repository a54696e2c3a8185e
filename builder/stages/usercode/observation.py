"""All that running a user's Python took: files, folders, imports, variables, hazards."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.plan.reads import DISTRIBUTION, LISTING, MODULE, VARIABLE
from builder.stages.usercode.hazards import watching
from builder.stages.usercode.imports import importing
from builder.stages.usercode.listings import listing
from builder.stages.usercode.reads import below, distributions, named, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.stages.usercode.blame import Place
    from builder.stages.usercode.seen import Hazard


@dataclass(frozen=True)
class Observation:
    """What was seen of some calls. Observations add up with `|`.

    Attributes:
        files: those that were read.
        folders: those of the project that were listed.
        sought: where in the project its own code's imports looked; see `Imports`.
        foreign: top-level modules of distributions that the user's own code imported.
        variables: names of the environment that the user's own code read.
        hazards: what of it makes the result not reproducible.
    """

    files: frozenset[Path] = frozenset()
    folders: frozenset[Path] = frozenset()
    sought: frozenset[Path] = frozenset()
    foreign: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    hazards: frozenset[Hazard] = frozenset()

    def __or__(self, other: Observation) -> Observation:
        return Observation(
            self.files | other.files,
            self.folders | other.folders,
            self.sought | other.sought,
            self.foreign | other.foreign,
            self.variables | other.variables,
            self.hazards | other.hazards,
        )

    @property
    def places(self) -> frozenset[Path]:
        """Every file and folder that has to be as it was for all of this to come out again."""
        return self.files | self.folders | self.sought | {path.parent for path in self.sought}

    def facts(self, project: Path) -> dict[str, object]:
        """The facts `reads` and `unstable` of an action, in names that hold on any machine.

        `reads`: of files see `reads.named`; of the others `plan.reads`.
        `unstable`: rows of `what`, `call` and `where`; see `Hazard`.
        """
        others = {
            *(f"{DISTRIBUTION}{name}" for name in distributions(self.foreign)),
            *(f"{LISTING}{path}" for path in below(self.folders, project)),
            *(f"{MODULE}{path}" for path in below(self.sought, project)),
            *(f"{VARIABLE}{name}" for name in self.variables),
        }
        files = named(self.files, project)
        return {
            "reads": files + sorted(others - set(files)),
            "unstable": [
                {"what": h.what, "call": h.call, "where": h.where} for h in sorted(self.hazards)
            ],
        }


@contextmanager
def observing(place: Place) -> Iterator[Callable[[], Observation]]:
    """Sees what happens meanwhile; the function that it gives tells, once it is over."""
    with (
        recording(place.path.parent) as record,
        watching(place.project) as watch,
        importing(place.project) as imports,
        listing(place.project) as listings,
    ):
        yield lambda: Observation(
            files=frozenset([*record.files(), *record.others(place.project)]),
            folders=frozenset(listings.folders),
            sought=frozenset(imports.sought),
            foreign=frozenset(imports.foreign),
            variables=frozenset(watch.variables),
            hazards=watch.found(),
        )
