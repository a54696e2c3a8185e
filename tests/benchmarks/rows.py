"""What a benchmark says: two figures, their ratio, and the target it is held against."""

from __future__ import annotations

import operator
from dataclasses import dataclass

HOLDS = {"≤": operator.le, "≥": operator.ge}


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured, with its unit.
        ours: of this builder.
        against: of what it is compared with; None where the target is of `ours` itself.
        target: `≤ 1.1`, of the ratio of the two; empty where none is set.
        turned: the ratio is `against` to `ours`: so many times faster.
    """

    what: str
    ours: float
    against: float | None = None
    target: str = ""
    turned: bool = False

    @property
    def ratio(self) -> float | None:
        """The one figure that a machine's speed does not decide."""
        if self.against is None:
            return None
        one, other = (self.against, self.ours) if self.turned else (self.ours, self.against)
        return one / other if other else float("inf")

    @property
    def met(self) -> bool | None:
        """Whether the target is met."""
        if not self.target:
            return None
        sign, _, bound = self.target.partition(" ")
        figure = self.ours if self.ratio is None else self.ratio
        return bool(HOLDS[sign](figure, float(bound.removesuffix(" s"))))
