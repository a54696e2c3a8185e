"""The agent's loop: look where the channel stands, see that what is served is sound, have it move.

Whatever goes wrong, what was good is served on, or again. A release that was refused is not tried
again until the channel moves; a store that is away, and a disk that is full, are tried again, less
and less often.
"""

from __future__ import annotations

import random
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.agent import plan as plans
from builder.agent.backoff import Backoff
from builder.agent.keep import Keeper
from builder.agent.memory import Memory, unready
from builder.agent.moves import Moves
from builder.agent.pulls import Pulls
from builder.agent.refused import RefusedReleaseError
from builder.agent.rehearsal import Rehearsal
from builder.agent.switch import Switch
from builder.agent.tell import short
from builder.errors import BuilderError, MissingError, WorkFailedError
from builder.servers.endpoint import RefusedError, UnreachableError

if TYPE_CHECKING:
    from builder.agent.home import Home
    from builder.agent.source import Source
    from builder.agent.state import Position
    from builder.agent.tell import Teller
    from builder.agent.tree import Tree
    from builder.agent.triton import Triton

GIVEN_UP = 300.0
"""Seconds that a server may be away before another release is put in place without it."""


@dataclass(frozen=True)
class Options:
    """How to follow.

    Attributes:
        interval: seconds between looks at the channel.
        proving: seconds between askings of all probes; 0 for after moves only.
        load_within: seconds that a load may take.
        answer_within: seconds that an answer may take.
        rehearse: try what is new under other names first.
    """

    interval: float = 10.0
    proving: float = 60.0
    load_within: float = 600.0
    answer_within: float = 60.0
    rehearse: bool = True


class Follower:
    """Follows a channel.

    Args:
        home: the folder that Triton is given; locked.
        source: where the channel is.
        triton: the server.
        tell: told what happens.
        options: see there.

    Attributes:
        stop: set it to have `run` end.
    """

    def __init__(
        self, home: Home, source: Source, triton: Triton, tell: Teller, options: Options
    ) -> None:
        within = {"load_within": options.load_within, "answer_within": options.answer_within}
        self._home = home
        self._source = source
        self._triton = triton
        self._tell = tell
        self._options = options
        self._memory = memory = Memory(home)
        self._switch = Switch(home, triton, fresh=memory.fresh, say=tell.say, **within)
        rehearsal = Rehearsal(home, triton, say=tell.say, **within)
        self._keeper = Keeper(
            memory,
            triton,
            self._switch,
            tell,
            interval=options.interval,
            proving=options.proving,
        )
        self._position: Position | None = None
        self._unseen: BuilderError | None = None
        self._trouble: BuilderError | None = None
        self._settled = False
        self._looks = Backoff(options.interval)
        self._pulls = Pulls(home, source, memory, tell, options.interval)
        self._moves = Moves(
            home,
            source,
            memory,
            self._pulls,
            self._switch,
            rehearsal if options.rehearse else None,
            self._keeper,
            tell,
            Backoff(options.interval),
            self._show,
        )
        self.stop = threading.Event()

    def ready(self) -> tuple[bool, str]:
        """Whether a release that was found good is served, and the server has all of it loaded."""
        served, good = self._memory.served, self._memory.state.good
        if not self._memory.proven or not served:
            return False, "no release that was found good is served"
        try:
            missing = unready(served, self._triton.index())
        except (UnreachableError, RefusedError, ValueError) as e:
            return False, f"Triton does not answer: {e}"
        if missing:
            return False, f"not ready: {', '.join(sorted(missing))}"
        return True, good

    def run(self) -> None:
        """Follows until `stop` is set."""
        self._home.dismiss()
        while not self.stop.is_set():
            try:
                self.step()
            except Exception:  # noqa: BLE001 - a bug of ours must not leave pods to themselves
                self._tell.failed("bug", traceback.format_exc(), "bug")
            wait = self._options.interval * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
            self.stop.wait(wait)

    def once(self) -> None:
        """One look, and what has to be done for it.

        Raises:
            WorkFailedError: the channel's release is not what is served.
            MissingError: the store or the server is away.
            InputError: what lies in DIR is not ours.
        """
        self._home.dismiss()
        self.step()
        if self._trouble:
            raise self._trouble
        position, state = self._position, self._memory.state
        if position is None:
            why = self._unseen or MissingError("the release store does not answer")
            raise MissingError(
                why.problem,
                where=why.where,
                found=why.found,
                expected=why.expected,
                fix=why.fix or "see what is said above",
            )
        if not self._keeper.up:
            raise self._keeper.trouble or MissingError(
                "Triton does not answer",
                where=self._triton.endpoint.address,
                fix="start it in explicit mode on this folder, or say where it is: --http",
            )
        if state.refused and state.refuses(position):
            raise WorkFailedError(
                "the channel's release was refused",
                where=short(position.release),
                found=state.refused.text,
                expected=f"{short(state.good) or 'nothing'} is served on",
            )
        if not self._memory.proven or state.good != position.release:
            raise WorkFailedError(
                "the channel's release is not served",
                where=short(position.release),
                fix="see what is said above",
            )

    def step(self) -> None:
        """One look at the channel, and what has to be done for it."""
        self._tell.sign()
        self._trouble = None
        self._look()
        try:
            self._care()
        except BuilderError as e:
            self._trouble = e
            self._tell.failed("store" if isinstance(e, MissingError) else "disk", e)
        self._show()

    def _look(self) -> None:
        """Where the channel stands."""
        if not self._looks.due():
            return
        try:
            position = self._source.position()
        except BuilderError as e:
            self._tell.metrics.set("store_up", 0)
            self._tell.failed("store" if isinstance(e, MissingError) else "channel", e)
            self._looks.failed()
            self._unseen = e
            return
        self._tell.metrics.set("store_up", 1)
        self._looks.reset()
        if position != self._position:
            self._pulls.reset()
        self._position = position

    def _care(self) -> None:
        """What is served comes first, then what shall be."""
        if self._memory.state.moving and not self._moves.resumed():
            return
        tree = self._home.current()
        if tree is None and self._position:
            self._moves.begin(self._position)
            tree = self._home.current()
        if tree is None:
            return
        sound = self._keeper.sound(tree)
        if sound:
            self._found_good(tree)
        elif self._keeper.wrong and self._moves.left(tree, self._position):
            return
        if self._position is None or not self._wanted(self._position, tree):
            return
        if sound:
            self._moves.move(self._position, tree)
        elif not self._memory.state.good or time.monotonic() - self._keeper.seen > GIVEN_UP:
            self._moves.begin(self._position)

    def _found_good(self, tree: Tree) -> None:
        """What has to be done once for what is served, and proven."""
        if self._memory.state.good != tree.release:
            self._memory.remember(good=tree.release)
            self._memory.prove(plans.proofs(self._keeper.version, tree.models))
        if not self._settled:
            self._home.tidy()  # what an agent left that was killed
            try:
                self._switch.adopt(tree)
            except (RefusedReleaseError, UnreachableError) as e:
                self._tell.say(f"not all is adopted: {e}")
            self._settled = True

    def _wanted(self, position: Position, tree: Tree) -> bool:
        """Whether the channel's release is another one, and to be tried now."""
        return (
            position.release != tree.release
            and not self._memory.state.refuses(position)
            and self._pulls.due()
        )

    def _show(self) -> None:
        """Tells the metrics how things are."""
        metrics, state, position = self._tell.metrics, self._memory.state, self._position
        up, proven = self._keeper.up, self._memory.proven
        behind = bool(position and position.release != state.good)
        if state.good:
            metrics.only("info", channel=self._source.channel, release=state.good)
        metrics.set("behind", behind)
        metrics.set("refused", bool(position and state.refuses(position)))
        metrics.set("server_up", up)
        metrics.set("hanging_models", len(self._switch.hanging))
        if proven and position and not behind:
            metrics.set("last_success_timestamp_seconds", round(time.time(), 3))
        waiting = "unproven" if state.good else "starting"
        metrics.at("serving" if proven else waiting if up else "down")
