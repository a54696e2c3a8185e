"""Actions in worker processes of this machine, as many as fit into it."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from builder.engine import machine as machines
from builder.engine.worker import Worker
from builder.errors import BuilderError, MissingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from builder.engine.executor import Answer, Order
    from builder.engine.machine import Machine
    from builder.plan.action import Action
    from builder.store.store import Store

RUNTIME = "prove"
"""The stage that runs in the target release's own runtime."""

FIRST = "worker 1"

AT_MOST = 2
"""Actions at once for each core: each keeps one busy, but for moments when it waits for a disk."""


class LocalExecutor:
    """Worker processes that start when there is work for them, and keep their imports.

    Memory is never promised twice: an action starts when what it needs is free beside what
    running actions may still come to take. Where nothing runs, one always starts: waiting would
    not help it.

    Args:
        store: where workers find inputs and leave results.
        jobs: how many actions may run at once; no more than `AT_MOST` for each core do.
        runtime: the interpreter with the release's ONNX Runtime; it may still be installing.
        machine: what there is; found out by default.
        started: an idle worker that is there already, which becomes this executor's.
    """

    inputs_here = True

    def __init__(
        self,
        store: Store,
        jobs: int,
        runtime: Future[Path] | None = None,
        machine: Machine | None = None,
        started: Worker | None = None,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._machine = machine or machines.this()
        self._jobs = min(jobs, AT_MOST * self._machine.cores)
        self._workers = [started] if started else []
        self._answers: list[tuple[Order, Answer]] = []

    def refuse(self, action: Action) -> BuilderError | None:
        """Why this machine can never run an action; None where it can."""
        needs, machine = action.needs, self._machine
        if needs.gpus > len(machine.gpus) or not self._capable(action, machine.gpus):
            wanted = f"compute capability {needs.capability}" if needs.capability else "a GPU"
            found = ", ".join(gpu.capability for gpu in machine.gpus)
            return MissingError(
                f"this needs {wanted}",
                where=action.id,
                found=found or "no GPU",
                expected=wanted,
                fix="build on a machine that has one, or let a cluster do it: --executor ray",
            )
        if needs.memory > machine.memory:
            return MissingError(
                "this needs more memory than the machine has",
                where=action.id,
                found=f"{machine.memory / 1e9:.2f} GB",
                expected=f"{needs.memory / 1e9:.2f} GB",
                fix="build on a larger machine (--executor ray), or lower `build.memory` in "
                "model.yaml if it is too high",
            )
        return None

    def room(self, action: Action) -> bool:
        """Whether an action would start now."""
        busy = [w for w in self._workers if w.busy]
        if not busy:
            return True
        if len(busy) >= self._jobs or self._elsewhere(action):
            return False
        if action.stage == RUNTIME and self._runtime and not self._runtime.done():
            return False  # other work goes on while the server is being installed
        gpus = sum(w.busy.action.needs.gpus for w in busy if w.busy)
        if action.needs.gpus and gpus + action.needs.gpus > len(self._machine.gpus):
            return False
        return self._fits(action, busy)

    def start(self, order: Order) -> str:
        """Starts an action in an idle worker, or a new one; gives the worker's name."""
        if order.action.stage == RUNTIME and self._runtime:
            try:
                order = replace(order, runtime=self._runtime.result())
            except BuilderError as e:
                self._answers.append((order, e))
                return ""
        worker = self._worker(order.action)
        worker.give(order)
        return worker.name

    def wait(self, seconds: float | None) -> Sequence[tuple[Order, Answer]]:
        """The orders that were finished; waits for one, at most so long."""
        answers, self._answers = self._answers, []
        busy = {w.connection: w for w in self._workers if w.busy}
        if not busy:
            return answers
        for connection in wait(list(busy), 0 if answers else seconds):
            worker = busy[connection]  # type: ignore[index]
            order = worker.busy
            assert order  # noqa: S101 - it is among the busy ones
            answers.append((order, worker.result()))
            if worker.spent:
                self._workers.remove(worker)
                worker.stop()
        return answers

    def stop(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()

    def _fits(self, action: Action, busy: Sequence[Worker]) -> bool:
        promised = sum(max(0, w.needs.memory - machines.held(w.pid)) for w in busy)
        wanted = action.needs.memory
        if self._machine.free() - promised >= wanted:
            return True
        idle = [w for w in self._workers if not w.busy]
        if not idle:
            return False
        for worker in idle:  # what they keep in memory is worth less than work
            self._workers.remove(worker)
            worker.stop()
        return self._machine.free() - promised >= wanted

    def _elsewhere(self, action: Action) -> bool:
        """Whether the action's model is loaded in a busy worker.

        That is worth a wait rather than a second load.
        """
        return bool(action.affinity) and any(
            w.busy and w.affinity == action.affinity for w in self._workers
        )

    def _worker(self, action: Action) -> Worker:
        """The idle worker that has the action's model loaded, else a new one, else any idle."""
        idle = [w for w in self._workers if not w.busy]
        same = [w for w in idle if action.affinity and w.affinity == action.affinity]
        if same:
            return same[0]
        if not idle:
            names = {w.name for w in self._workers}
            name = next(n for i in range(1, self._jobs + 1) if (n := f"worker {i}") not in names)
            self._workers.append(Worker(self._store, name))
            return self._workers[-1]
        return idle[0]

    @staticmethod
    def _capable(action: Action, gpus: Sequence[machines.Gpu]) -> bool:
        wanted = action.needs.capability
        return wanted is None or any(gpu.capability == wanted for gpu in gpus)
