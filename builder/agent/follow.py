"""The agent's loop: look where the channel stands, see that what is served is sound, move.

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
from builder.agent.pulls import Pulls
from builder.agent.refused import RefusedReleaseError
from builder.agent.rehearsal import Rehearsal
from builder.agent.state import Refusal
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
        self._rehearsal = Rehearsal(home, triton, say=tell.say, **within)
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
        self._returns = Backoff(options.interval)
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
        if self._memory.state.moving and not self._resumed():
            return
        tree = self._home.current()
        if tree is None:
            self._begin()
            tree = self._home.current()
        if tree is None:
            return
        sound = self._keeper.sound(tree)
        if sound:
            self._found_good(tree)
        elif self._keeper.wrong and self._left(tree):
            return
        if self._position is None or not self._wanted(self._position, tree):
            return
        if sound:
            self._move(self._position, tree)
        elif not self._memory.state.good or time.monotonic() - self._keeper.seen > GIVEN_UP:
            self._begin()

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

    # --- where nothing good is served --------------------------------------------------

    def _begin(self) -> None:
        """Puts the channel's release in place where nothing good is served that could be lost."""
        position = self._position
        if position is None or self._memory.state.refuses(position):
            return
        try:
            with self._tell.part("pulling"):
                fetched = self._pulls.tree(position.release)
        except RefusedReleaseError as e:
            self._refuse(position, e)
            return
        if fetched:
            self._put(fetched)
            self._source.settle()

    def _left(self, tree: Tree) -> bool:
        """Leaves a release that was put in place unseen, and is not sound, for the good one."""
        state, position = self._memory.state, self._position
        if not state.good or state.good == tree.release:
            return False
        if position and position.release == tree.release:
            text = "; ".join(f"{m} {reason}".strip() for m, reason in self._keeper.wrong.items())
            self._refuse(position, RefusedReleaseError("probe", text))
        good = self._pulls.good()
        if good:
            self._put(good)
        return True

    def _put(self, tree: Tree) -> None:
        self._memory.proven = False
        self._switch.put(tree)
        self._keeper.doubt = set(tree.models)
        self._tell.say(f"{short(tree.release)} is in place", "placed", release=tree.release)

    # --- moving ------------------------------------------------------------------------

    def _move(self, position: Position, tree: Tree) -> None:
        """Brings the server to the channel's release, or refuses that."""
        started = time.monotonic()
        release = position.release
        said = f"the channel is at {short(release)}, {short(tree.release)} is served"
        self._tell.say(said, "moving", release=release)
        try:
            with self._tell.part("pulling"):
                fetched = self._pulls.tree(release)
            if fetched is None:
                return
            changed = plans.plan(fetched.models, [tree.models]).load
            if self._options.rehearse and changed:
                with self._tell.part("rehearsing"):
                    known = set(self._memory.state.proven)
                    self._rehearsal.run(fetched, tree.models, changed, known)
            self._memory.remember(moving=release)
            self._memory.served = (tree, fetched)
            with self._tell.part("moving"):
                self._switch.forth(fetched, tree)
        except RefusedReleaseError as e:
            self._refuse(position, e)
            return
        except UnreachableError as e:  # before anything of it was tried
            self._keeper.down(e)
            return
        self._memory.remember(good=release, moving="", refused=None)
        self._memory.prove(plans.proofs(self._keeper.version, fetched.models))
        self._memory.served = (fetched.at(self._home.folder),)
        self._keeper.proved()
        self._tell.metrics.add("moves_total")
        self._show()
        seconds = round(time.monotonic() - started, 3)
        said = f"serving {short(release)}, moved in {seconds:.1f} s"
        self._tell.say(said, "serving", release=release, seconds=seconds)
        self._home.tidy()
        self._source.settle()

    def _refuse(self, position: Position, error: RefusedReleaseError) -> None:
        """Remembers not to try it again, and goes back, where it has gone anywhere."""
        self._tell.metrics.add("failures_total", reason=error.reason)
        said = f"{short(position.release)} is refused: {error.text}"
        self._tell.say(said, "refused", release=position.release, reason=error.reason)
        refusal = Refusal(position, error.reason, error.text, round(time.time(), 3))
        self._memory.remember(refused=refusal)
        if self._memory.state.moving:
            self._back(set(self._switch.reached))
        else:
            self._home.tidy(self._memory.state.good)

    # --- back --------------------------------------------------------------------------

    def _resumed(self) -> bool:
        """Whether a move that an agent died in, or a way back that failed, is done with."""
        if not self._memory.state.good:
            self._memory.remember(moving="")
            current = self._home.current()
            self._keeper.doubt = set(current.models) if current else set()
            return True
        if not self._returns.due():
            return False
        said = f"the move to {short(self._memory.state.moving)} was not finished"
        self._tell.say(said, "resuming", release=self._memory.state.moving)
        return self._back(None)

    def _back(self, reached: set[str] | None) -> bool:
        """Back to the last good release; False where it must be tried again."""
        good = self._pulls.good()
        if good is None:
            return False
        try:
            with self._tell.part("returning"):
                self._switch.back(good, self._memory.other(), reached)
        except UnreachableError as e:
            self._keeper.down(e)
            return False
        except RefusedReleaseError as e:
            self._tell.failed("back", f"{short(good.release)} is not all loaded again: {e.text}")
            self._memory.proven = False
            self._returns.failed()
            return False
        self._returns.reset()
        self._keeper.ask_soon()
        self._memory.remember(moving="")
        self._memory.served = (good.at(self._home.folder),)
        said = f"serving {short(good.release)} again"
        self._tell.say(said, "serving", release=good.release)
        self._home.tidy()
        return True

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
