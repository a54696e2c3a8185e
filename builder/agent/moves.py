"""What brings a server from the release that it serves to the channel's, and back where that fails.

Each step is remembered before it is taken, so that an agent that comes after one that died knows
where it stands. When to move is for `follow`; how models are exchanged, for `switch`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.agent import plan as plans
from builder.agent.refused import RefusedReleaseError
from builder.agent.state import Refusal
from builder.agent.tell import short
from builder.servers.endpoint import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.agent.backoff import Backoff
    from builder.agent.home import Home
    from builder.agent.keep import Keeper
    from builder.agent.memory import Memory
    from builder.agent.pulls import Pulls
    from builder.agent.rehearsal import Rehearsal
    from builder.agent.source import Source
    from builder.agent.state import Position
    from builder.agent.switch import Switch
    from builder.agent.tell import Teller
    from builder.agent.tree import Tree


@dataclass(frozen=True)
class Moves:
    """The moves of one server.

    Attributes:
        home: the folder that Triton is given; locked.
        source: where releases come from.
        memory: what this agent, and those before it, know of the server.
        pulls: brings releases into the home.
        switch: exchanges models.
        rehearsal: tries what is new first; None where nobody wants that.
        keeper: knows how the server is.
        tell: told what happens.
        returns: how long to wait after a way back that failed.
        show: called when the figures have changed.
    """

    home: Home
    source: Source
    memory: Memory
    pulls: Pulls
    switch: Switch
    rehearsal: Rehearsal | None
    keeper: Keeper
    tell: Teller
    returns: Backoff
    show: Callable[[], None]

    # --- where nothing good is served --------------------------------------------------

    def begin(self, position: Position) -> None:
        """Puts the channel's release in place where nothing good is served that could be lost."""
        if self.memory.state.refuses(position):
            return
        try:
            with self.tell.part("pulling"):
                fetched = self.pulls.tree(position.release)
        except RefusedReleaseError as e:
            self._refuse(position, e)
            return
        if fetched:
            self._put(fetched)
            self.source.settle()

    def left(self, tree: Tree, position: Position | None) -> bool:
        """Leaves a release that was put in place unseen, and is not sound, for the good one."""
        state = self.memory.state
        if not state.good or state.good == tree.release:
            return False
        if position and position.release == tree.release:
            text = "; ".join(f"{m} {reason}".strip() for m, reason in self.keeper.wrong.items())
            self._refuse(position, RefusedReleaseError("probe", text))
        good = self.pulls.good()
        if good:
            self._put(good)
        return True

    def _put(self, tree: Tree) -> None:
        self.memory.proven = False
        self.switch.put(tree)
        self.keeper.doubt = set(tree.models)
        self.tell.say(f"{short(tree.release)} is in place", "placed", release=tree.release)

    # --- moving ------------------------------------------------------------------------

    def move(self, position: Position, tree: Tree) -> None:
        """Brings the server to the channel's release, or refuses that."""
        started = time.monotonic()
        release = position.release
        said = f"the channel is at {short(release)}, {short(tree.release)} is served"
        self.tell.say(said, "moving", release=release)
        try:
            with self.tell.part("pulling"):
                fetched = self.pulls.tree(release)
            if fetched is None:
                return
            changed = plans.plan(fetched.models, [tree.models]).load
            if self.rehearsal and changed:
                with self.tell.part("rehearsing"):
                    known = set(self.memory.state.proven)
                    self.rehearsal.run(fetched, tree.models, changed, known)
            self.memory.remember(moving=release)
            self.memory.served = (tree, fetched)
            with self.tell.part("moving"):
                self.switch.forth(fetched, tree)
        except RefusedReleaseError as e:
            self._refuse(position, e)
            return
        except UnreachableError as e:  # before anything of it was tried
            self.keeper.down(e)
            return
        self.memory.remember(good=release, moving="", refused=None)
        self.memory.prove(plans.proofs(self.keeper.version, fetched.models))
        self.memory.served = (fetched.at(self.home.folder),)
        self.keeper.proved()
        self.tell.metrics.add("moves_total")
        self.show()
        seconds = round(time.monotonic() - started, 3)
        said = f"serving {short(release)}, moved in {seconds:.1f} s"
        self.tell.say(said, "serving", release=release, seconds=seconds)
        self.home.tidy()
        self.source.settle()

    def _refuse(self, position: Position, error: RefusedReleaseError) -> None:
        """Remembers not to try it again, and goes back, where it has gone anywhere."""
        self.tell.metrics.add("failures_total", reason=error.reason)
        said = f"{short(position.release)} is refused: {error.text}"
        self.tell.say(said, "refused", release=position.release, reason=error.reason)
        refusal = Refusal(position, error.reason, error.text, round(time.time(), 3))
        self.memory.remember(refused=refusal)
        if self.memory.state.moving:
            self._back(set(self.switch.reached))
        else:
            self.home.tidy(self.memory.state.good)

    # --- back --------------------------------------------------------------------------

    def resumed(self) -> bool:
        """Whether a move that an agent died in, or a way back that failed, is done with."""
        if not self.memory.state.good:
            self.memory.remember(moving="")
            current = self.home.current()
            self.keeper.doubt = set(current.models) if current else set()
            return True
        if not self.returns.due():
            return False
        said = f"the move to {short(self.memory.state.moving)} was not finished"
        self.tell.say(said, "resuming", release=self.memory.state.moving)
        return self._back(None)

    def _back(self, reached: set[str] | None) -> bool:
        """Back to the last good release; False where it must be tried again."""
        good = self.pulls.good()
        if good is None:
            return False
        try:
            with self.tell.part("returning"):
                self.switch.back(good, self.memory.other(), reached)
        except UnreachableError as e:
            self.keeper.down(e)
            return False
        except RefusedReleaseError as e:
            self.tell.failed("back", f"{short(good.release)} is not all loaded again: {e.text}")
            self.memory.proven = False
            self.returns.failed()
            return False
        self.returns.reset()
        self.keeper.ask_soon()
        self.memory.remember(moving="")
        self.memory.served = (good.at(self.home.folder),)
        said = f"serving {short(good.release)} again"
        self.tell.say(said, "serving", release=good.release)
        self.home.tidy()
        return True
