"""The engine: walks a graph, settles hits, has an executor do the rest, longest path first."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.engine.executor import Damaged, Order
from builder.errors import BuilderError, SeveralError, WorkFailedError
from builder.plan.evaluate import Record, ask, decide
from builder.plan.frontier import Frontier, longest_paths
from builder.plan.missing import grouped
from builder.plan.needs import BRIEF, SECONDS
from builder.store.blobs import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Future

    from builder.engine.executor import Answer, Executor
    from builder.plan.action import Action
    from builder.plan.evaluate import Question
    from builder.plan.graph import Graph
    from builder.store.store import Store

SLOW = 30.0
"""Seconds after which an action that still runs is mentioned, and mentioned again."""

LOOKAHEAD = 8
"""How many ready actions may be passed over for a smaller one that there is room for."""

MENDED = 3
"""How often a blob is made again in one build before the store is called broken."""


@dataclass(frozen=True)
class Event:
    """Something that happened to an action.

    Attributes:
        kind: `hit`, `miss`, `start`, `done`, `fail`, `slow` (still running) or `mend` (a result
            of it in the store was corrupt or gone: it is made again).
        reason: why it was no hit (`miss`, `start`), what went wrong (`fail`).
        seconds: how long it took, or takes so far (`slow`).
        expected: seconds that it is thought to take (`start`); None where nobody knows.
        memory: bytes that it held at most (`done`).
        lane: what it runs in: `worker 1`.
        left: actions of the build that are not settled yet.
    """

    kind: str
    action: str
    reason: str = ""
    seconds: float = 0.0
    expected: float | None = None
    memory: int = 0
    lane: str = ""
    left: int = 0


@dataclass
class _Running:
    lane: str
    start: float
    mentioned: float


def run(  # noqa: PLR0913 - everything a run depends on, by name
    graph: Graph,
    files: Mapping[str, str],
    store: Store,
    *,
    executor: Callable[[Collection[Action]], Executor],
    say: Callable[[Event], None],
    share: Callable[[Record], None] = lambda _: None,
) -> dict[str, Record]:
    """Does every action of a graph that is not a hit; gives all records by id.

    An action that fails stops what depends on it and nothing else, so that one run shows
    every mistake, and whatever succeeded need not be done again.

    Args:
        graph: the actions, inputs first.
        files: digest by project file.
        store: where results are found and kept.
        executor: makes what runs the misses, out of the actions that are no hits; called once
            there is one.
        say: told what happens.
        share: given every result that was made here.

    Raises:
        BuilderError: of the action that failed; SeveralError where several did.
    """
    walk = _Walk(graph, files, store, executor, say, share)
    try:
        walk.go()
    finally:
        walk.stop()
    if walk.failed:
        raise SeveralError.of(grouped(walk.failed, graph.actions))
    return walk.done


class _Walk:
    """One walk over a graph.

    An action is on the frontier until its inputs are done; then it is decided on: a hit is done,
    a miss is fetching (inputs that only the remote has), then ready, then running, then done.
    """

    def __init__(  # noqa: PLR0913 - as above
        self,
        graph: Graph,
        files: Mapping[str, str],
        store: Store,
        executor: Callable[[Collection[Action]], Executor],
        say: Callable[[Event], None],
        share: Callable[[Record], None],
    ) -> None:
        self._actions = graph.actions
        self._files = files
        self._store = store
        self._make = executor
        self._tell = say
        self._share = share
        self._frontier = Frontier(graph.actions)
        self._executor: Executor | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._fetching: dict[Future[None], Order] = {}
        self._ready: list[tuple[float, int, Order]] = []
        self._count = itertools.count()
        self._running: dict[str, _Running] = {}
        self._reasons: dict[str, str] = {}
        self._length: dict[str, float] | None = None
        self._mended: Counter[str] = Counter()
        self.done: dict[str, Record] = {}
        self.failed: dict[str, BuilderError] = {}

    def go(self) -> None:
        """Until nothing is left that could be done."""
        self._settle()
        while self._ready or self._fetching or self._running:
            self._start()
            self._collect()
            self._settle()

    def stop(self) -> None:
        """Ends what runs, and remembers what was done."""
        with contextlib.suppress(BuilderError):  # reasons and estimates, no results
            self._store.history.save()
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        if self._executor:
            self._executor.stop()

    # --- deciding ----------------------------------------------------------------------

    def _settle(self) -> None:
        """Decides on all actions that have come up: hits are done, misses become orders."""
        misses = []
        while actions := self._frontier.take():
            questions = [ask(a, self._files, self.done) for a in actions]
            self._store.expect([q.key for q in questions])
            with self._store.passing():
                for question in questions:
                    decision = decide(question, self._store)
                    if decision.record:
                        self._finish(question.action.id, decision.record)
                        self._say("hit", question.action.id)
                    else:
                        self._reasons[question.action.id] = decision.reason
                        misses.append(question)
                        self._say("miss", question.action.id, reason=decision.reason)
        for question in misses:
            self._order(question)

    def _order(self, question: Question) -> None:
        action = self._needing(question.action)
        inputs = {label: self.done[name] for label, name in action.inputs.items()}
        order = Order(action, question.key, question.ingredients, inputs)
        executor = self._executing()
        error = executor.refuse(question.action)  # by what it declares: the rest may only delay
        if error:
            self._fail(action.id, error)
        elif executor.inputs_here and any(
            self._store.absent(record.outputs) for record in inputs.values()
        ):
            self._pool = self._pool or ThreadPoolExecutor(4, "fetch")
            self._fetching[self._pool.submit(self._fetch, order)] = order
        else:
            self._queue(order)

    def _needing(self, action: Action) -> Action:
        """The action with the memory that it took the last time, where that was more."""
        last = self._store.last(action.id)
        taken = last.record.memory if last and last.record else 0
        needs = replace(action.needs, memory=max(action.needs.memory, taken))
        return replace(action, needs=needs)

    def _fetch(self, order: Order) -> None:
        for record in order.inputs.values():
            self._store.fetch(record.outputs)

    def _queue(self, order: Order) -> None:
        if self._length is None:  # of what is left once the hits are settled
            left = {id_: a for id_, a in self._actions.items() if id_ not in self.done}
            self._length = longest_paths(left, {id_: self._seconds(left[id_]) for id_ in left})
        length = self._length.get(order.action.id, 0.0)
        heapq.heappush(self._ready, (-length, next(self._count), order))

    def _seconds(self, action: Action) -> float:
        return self._expected(action) or SECONDS.get(action.stage, BRIEF)

    def _expected(self, action: Action) -> float | None:
        last = self._store.last(action.id)
        return last.record.seconds if last and last.record else None

    # --- doing -------------------------------------------------------------------------

    def _executing(self) -> Executor:
        if self._executor is None:
            left = [a for id_, a in self._actions.items() if id_ not in self.done]
            self._executor = self._make(left)
        return self._executor

    def _start(self) -> None:
        """Starts what there is room for, the longest path first."""
        executor = self._executing()
        waiting: list[tuple[float, int, Order]] = []
        while self._ready and len(waiting) < LOOKAHEAD:
            entry = heapq.heappop(self._ready)
            order = entry[2]
            if not executor.room(order.action):
                waiting.append(entry)
                continue
            id_ = order.action.id
            expected = self._expected(order.action)
            lane = executor.start(order)
            now = time.monotonic()
            self._running[id_] = _Running(lane, now, now)
            self._say("start", id_, reason=self._reasons[id_], expected=expected, lane=lane)
        for entry in waiting:
            heapq.heappush(self._ready, entry)

    def _collect(self) -> None:
        """Waits until something is finished, and takes it."""
        if self._fetching:
            found, _ = wait(self._fetching, 0 if self._running else SLOW, FIRST_COMPLETED)
            for future in found:
                order = self._fetching.pop(future, None)
                if order:
                    self._fetched(future, order)
        if self._running:
            patience = 0.1 if self._fetching else 1.0 if self._ready else SLOW
            for order, answer in self._executing().wait(patience):
                self._take(order, answer)
            self._mention_slow()

    def _fetched(self, future: Future[None], order: Order) -> None:
        try:
            future.result()
        except DamagedError as e:
            self._mend(order, e.digest)
        except BuilderError as e:
            self._fail(order.action.id, e)
        else:
            self._queue(order)

    def _take(self, order: Order, answer: Answer) -> None:
        id_ = order.action.id
        running = self._running.pop(id_)
        if isinstance(answer, Damaged):
            self._mend(order, answer.digest)
        elif isinstance(answer, Record):
            self._finish(id_, answer)
            self._share(answer)
            self._say("done", id_, seconds=answer.seconds, memory=answer.memory, lane=running.lane)
        else:
            self._fail(id_, answer, time.monotonic() - running.start, running.lane)

    def _finish(self, id_: str, record: Record) -> None:
        self.done[id_] = record
        self._store.history.note(id_, record.key)
        self._frontier.done(id_)

    def _fail(self, id_: str, error: BuilderError, seconds: float = 0.0, lane: str = "") -> None:
        for name in self._frontier.below([id_]):
            self.failed.setdefault(name, error)
        self._say("fail", id_, reason=error.problem, seconds=seconds, lane=lane)

    def _mend(self, order: Order, digest: str) -> None:
        """Has the action done again that made a blob which is corrupt or gone."""
        self._mended[digest] += 1
        made = [
            name
            for label, name in order.action.inputs.items()
            if any(digest == sha for sha, _ in order.inputs[label].outputs.values())
        ]
        if self._mended[digest] > MENDED:
            self._fail(order.action.id, _broken(self._store, order, digest))
            return
        again = self._frontier.below(made) - self._running.keys()
        self._fetching = {f: o for f, o in self._fetching.items() if o.action.id not in again}
        self._ready = [e for e in self._ready if e[2].action.id not in again]
        heapq.heapify(self._ready)
        for id_ in again:
            self.done.pop(id_, None)
        self._frontier.reset(again, self.done)
        for name in made:
            self._say("mend", name, reason="its result in the store was corrupt or gone")

    # --- telling -----------------------------------------------------------------------

    def _mention_slow(self) -> None:
        now = time.monotonic()
        for id_, running in self._running.items():
            if now - running.mentioned >= SLOW:
                running.mentioned = now
                self._say("slow", id_, seconds=now - running.start, lane=running.lane)

    def _say(self, kind: str, action: str, **parts: object) -> None:
        left = len(self._actions) - len(self.done) - len(self.failed)
        self._tell(Event(kind, action, left=left, **parts))  # type: ignore[arg-type]


def _broken(store: Store, order: Order, digest: str) -> BuilderError:
    return WorkFailedError(
        "the store does not keep what it is given",
        where=str(store.blobs.path(digest)),
        found=f"an input of {order.action.id} that was made {MENDED} times and is still not whole",
        fix="check the disk, or set TRITON_BUILDER_CACHE to a folder on another one",
    )
