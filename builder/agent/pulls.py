"""Releases out of the store, each in a tree beside DIR; what failed is due again, ever later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.agent import tree as trees
from builder.agent.backoff import Backoff
from builder.agent.refused import RefusedReleaseError
from builder.errors import MissingError, WorkFailedError

if TYPE_CHECKING:
    from builder.agent.home import Home
    from builder.agent.memory import Memory
    from builder.agent.source import Source
    from builder.agent.tell import Teller
    from builder.agent.tree import Tree


class Pulls:
    """What is pulled, one release at a time.

    Args:
        home: where the trees lie.
        source: where the releases are.
        memory: which one was good.
        tell: told what happens.
        interval: seconds until the second try.
    """

    def __init__(
        self, home: Home, source: Source, memory: Memory, tell: Teller, interval: float
    ) -> None:
        self._home = home
        self._source = source
        self._memory = memory
        self._tell = tell
        self._backoff = Backoff(interval)

    def due(self) -> bool:
        """Whether another one may be tried."""
        return self._backoff.due()

    def reset(self) -> None:
        """It is about another release now."""
        self._backoff.reset()

    def tree(self, release: str) -> Tree | None:
        """A release's tree beside DIR; None where it cannot be had now.

        Raises:
            RefusedReleaseError: it is not what was published.
        """
        folder = self._home.place(release)
        try:
            came = self._source.fetch(release, folder)
        except (MissingError, WorkFailedError) as e:
            self._backoff.failed()
            self._tell.failed("store" if isinstance(e, MissingError) else "disk", e)
            return None
        self._backoff.reset()
        self._tell.metrics.add("downloaded_bytes_total", came)
        found = trees.read(folder)
        if found is None:
            raise RefusedReleaseError("pull", "its configs cannot be read")
        return found

    def good(self) -> Tree | None:
        """The last good release's tree, out of the store where it lies nowhere any more."""
        found = self._memory.good()
        if found:
            return found
        try:
            return self.tree(self._memory.state.good)
        except RefusedReleaseError as e:
            self._tell.failed(e.reason, e.text)
            return None
