"""What was seen of the user's own code: what makes its result not reproducible, and variables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import types
    from pathlib import Path

    Instruction = tuple[types.CodeType, int]

_LOOKUP = "socket.getaddrinfo"


@dataclass(frozen=True, order=True)
class Hazard:
    """A read that makes a result not reproducible.

    Attributes:
        where: file below the project, and line, of the user's own code.
        what: `network`, `clock` or `randomness`.
        call: the function they called: `time.time`.
    """

    where: str
    what: str
    call: str


@dataclass
class Watch:
    """What was seen so far of the code of one project.

    Attributes:
        variables: names of the environment that the user's code read.
        drawn: numpy's last draw of a seed, where, and what it is if no seed was given:
            `RandomState(5)` draws one, and then takes 5.
    """

    project: Path
    hazards: set[Hazard] = field(default_factory=set)
    variables: set[str] = field(default_factory=set)
    drawn: tuple[Instruction, Hazard] | None = None

    def settle(self) -> None:
        """The last draw was for want of a seed."""
        if self.drawn:
            self.hazards.add(self.drawn[1])
            self.drawn = None

    def found(self) -> frozenset[Hazard]:
        """The hazards; of several network calls at a place, one: which come depends on luck."""
        self.settle()
        first: dict[tuple[str, str], Hazard] = {}
        for hazard in sorted(self.hazards, key=lambda h: (h.where, h.what, h.call != _LOOKUP, h)):
            call = "" if hazard.what == "network" else hazard.call
            first.setdefault((hazard.where, hazard.what + call), hazard)
        return frozenset(first.values())
