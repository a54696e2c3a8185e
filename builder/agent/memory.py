"""What is known of what is served: what survives a restart, and what is found out again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from builder.agent import tree as trees

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from builder.agent.home import Home
    from builder.agent.tree import Tree


class Memory:
    """The agent's knowledge.

    Args:
        home: where it is kept.

    Attributes:
        state: what survives; change it by `remember`.
        served: trees that the server serves: one, and on a move two.
        proven: whether the last good release was found served since the server was seen last.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.state = home.state()
        self.served: tuple[Tree, ...] = ()
        self.proven = False

    def remember(self, **changes: object) -> None:
        """Changes what survives, before anything is done for it."""
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]
        self._home.remember(self.state)

    def prove(self, keys: set[str]) -> None:
        """These versions were tried, and found good."""
        self.state = self.state.with_proven(keys)
        self._home.remember(self.state)

    def fresh(self) -> int:
        """A stamp that no folder had yet."""
        self.remember(stamp=self.state.stamp + 1)
        return self.state.stamp

    def good(self) -> Tree | None:
        """The last good release's tree, wherever it lies."""
        return self._home.find(self.state.good) if self.state.good else None

    def other(self) -> Tree | None:
        """The tree of the move that is not finished."""
        return self._home.find(self.state.moving) if self.state.moving else None


def unready(served: Collection[Tree], index: Mapping[str, Mapping[int, str]]) -> set[str]:
    """Models that do not answer as any of some trees says that they should.

    On a move, some are as they were, and some as they will be; a model that comes, or goes, may be
    there or not.
    """
    names = [set(tree.models) for tree in served]
    return {
        name
        for name in (set.intersection(*names) if names else ())
        if not any(trees.ready(index, name) >= tree.models[name].versions.keys() for tree in served)
    }
