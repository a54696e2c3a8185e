"""The engine: walks a graph, does what is missing, several actions at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from builder.engine.worker import Order, Worker
from builder.errors import BuilderError, SeveralError
from builder.plan.evaluate import Record, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from builder.engine.store import Store
    from builder.plan.action import Action
    from builder.plan.graph import Graph


@dataclass(frozen=True)
class Event:
    """Something that happened to an action: `start`, `hit`, `done` or `fail`."""

    kind: str
    action: str
    reason: str = ""
    seconds: float = 0.0


@dataclass
class Run:
    """The state of one walk over a graph."""

    graph: Graph
    files: Mapping[str, str]
    store: Store
    jobs: int
    runtime: Future[Path] | None
    say: Callable[[Event], None]
    done: dict[str, Record] = field(default_factory=dict)
    failed: dict[str, BuilderError] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)


def run(  # noqa: PLR0913 - everything a run depends on, by name
    graph: Graph,
    files: Mapping[str, str],
    store: Store,
    *,
    jobs: int,
    runtime: Future[Path] | None,
    say: Callable[[Event], None],
) -> dict[str, Record]:
    """Does every action of a graph that is not a hit; gives all records by id.

    An action that fails stops what depends on it and nothing else, so that one run shows
    every mistake, and whatever succeeded need not be done again.

    Args:
        graph: the actions, inputs first.
        files: digest by project file.
        store: where results are found and kept.
        jobs: how many actions may run at once.
        runtime: the interpreter with the release's ONNX Runtime; it may still be installing.
        say: told what happens.

    Raises:
        BuilderError: of the action that failed; SeveralError where several did.
    """
    state = Run(graph, files, store, jobs, runtime, say)
    waiting = dict(graph.actions)
    try:
        while waiting or any(w.busy for w in state.workers):
            _dispatch(state, waiting)
            _collect(state)
    finally:
        for worker in state.workers:
            worker.stop()
    if state.failed:
        raise SeveralError.of(list(state.failed.values()))
    return state.done


def _dispatch(state: Run, waiting: dict[str, Action]) -> None:
    """Settles hits, and gives misses to workers, as long as there are idle ones."""
    for id_, action in list(waiting.items()):
        if id_ not in waiting:
            continue
        if any(name in state.failed for name in action.inputs.values()):
            del waiting[id_]
            state.failed.setdefault(id_, state.failed[_cause(state, action)])
            continue
        if any(name not in state.done for name in action.inputs.values()):
            continue
        inputs = {label: state.done[name] for label, name in action.inputs.items()}
        decision, ingredients = decide(action, state.files, state.done, state.store)
        if decision.record:
            del waiting[id_]
            state.done[id_] = decision.record
            state.store.note(id_, ingredients)
            state.say(Event("hit", id_))
            continue
        runtime = None
        if action.stage == "prove" and state.runtime:
            if not state.runtime.done() and any(w.busy for w in state.workers):
                continue  # other work goes on while the server is being installed
            runtime = state.runtime.result()
        worker = _worker(state, action)
        if worker is None:
            continue
        del waiting[id_]
        assert decision.key  # noqa: S101 - decided with all inputs at hand
        worker.give(Order(action, decision.key, ingredients, inputs, runtime))
        state.say(Event("start", id_, decision.reason))


def _cause(state: Run, action: Action) -> str:
    return next(name for name in action.inputs.values() if name in state.failed)


def _worker(state: Run, action: Action) -> Worker | None:
    """An idle worker, best one that has the action's model loaded; None if all are busy.

    An action whose model is loaded in a busy worker is worth a wait rather than a second load.
    """
    idle = [w for w in state.workers if not w.busy]
    if action.affinity:
        same = [w for w in state.workers if w.affinity == action.affinity]
        if same:
            return same[0] if not same[0].busy else None
    if len(state.workers) < state.jobs and not idle:
        state.workers.append(Worker(state.store))
        return state.workers[-1]
    return idle[0] if idle else None


def _collect(state: Run) -> None:
    """Waits until a worker has a result, and takes it."""
    busy = {w.connection: w for w in state.workers if w.busy}
    if not busy:
        return
    for connection in wait(list(busy)):
        worker = busy[connection]  # type: ignore[index]
        order = worker.busy
        assert order  # noqa: S101 - it is among the busy ones
        result = worker.result()
        if not worker.process.is_alive():
            state.workers.remove(worker)
            worker.stop()
        if isinstance(result, Record):
            state.done[order.action.id] = result
            state.say(Event("done", order.action.id, seconds=result.seconds))
        else:
            state.failed[order.action.id] = result
            state.say(Event("fail", order.action.id, result.problem))
