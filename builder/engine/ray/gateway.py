"""The process that speaks with Ray.

It is one of its own because Ray ends the process that it is in when a cluster is lost, prints
where it likes and handles signals; and because ending this process ends all that it started on
the cluster.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from builder.engine.ray import sources
from builder.engine.ray.cluster import connect
from builder.engine.ray.demand import demand, infeasible
from builder.engine.ray.node import Site, perform
from builder.errors import BuilderError, MissingError, WorkFailedError
from builder.plan.evaluate import Record
from builder.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from multiprocessing.connection import Connection

    from builder.engine.executor import Answer, Order
    from builder.engine.ray.cluster import Cluster
    from builder.plan.action import Action

TRIES = 3
"""How often an action is begun where nodes are lost under it."""

LOOK = 2.0
"""Seconds between looks at the cluster."""

FILE = "file://"
"""How the address of a remote cache in a folder begins."""


@dataclass(frozen=True)
class Build:
    """What is built. Everything about it that the nodes must be told comes out of this.

    Attributes:
        store: the store's root.
        project: the project's root.
        remote: the remote cache's URL.
        release: the target's Triton release.
    """

    store: Path
    project: Path
    remote: str
    release: str


Message = tuple[Literal["answer"], int, "Answer"] | tuple[Literal["say", "ready"], str]
"""What the gateway tells: what came of an order, by its number; something for people."""


@dataclass
class _Task:
    order: Order
    reference: Any
    tries: int


def serve(connection: Connection, log: Path, cluster: Cluster, build: Build) -> None:
    """The gateway's whole life: orders come in over the connection, messages go out."""
    os.setpgid(0, 0)  # Ctrl-C is the engine's to handle
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    try:
        connect(cluster)
        gateway = _Gateway(connection, build)
        connection.send(("ready", ""))
        gateway.run()
    except BuilderError as e:
        with contextlib.suppress(OSError):
            connection.send(("answer", -1, e))
    finally:
        with contextlib.suppress(ImportError):
            import ray

            ray.shutdown()


class _Gateway:
    """Hands orders to Ray and answers back. All of it happens in one thread."""

    def __init__(self, connection: Connection, build: Build) -> None:
        from builder.remote.cache import Remote

        self._connection = connection
        warnings: list[str] = []
        remote = Remote(build.remote, read_only=False, warn=warnings.append)
        self._store = Store(build.store, build.project, remote=remote)
        cache = [build.store.parent]
        if build.remote.startswith(FILE):
            cache.append(Path(build.remote.removeprefix(FILE)))
        found = sources.tree(build.project, self._store.files, without=cache)
        name = sources.push(found, build.project, remote)
        if name is None:
            raise _not_sent(build.remote, warnings)
        self._site = Site(build.remote, build.release, name)
        self._events: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
        self._tasks: dict[int, _Task] = {}
        self._there = set[str]()
        self._dead = {n["NodeID"] for n in self._nodes() if not n["Alive"]}

    def run(self) -> None:
        """Until the engine has no more orders, or is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        while True:
            try:
                event = self._events.get(timeout=LOOK)
            except queue.Empty:
                self._look()
                continue
            if event is None:
                return
            number, what = event
            if number in self._tasks:
                self._finished(number, what)
            else:
                self._submit(number, what, tries=1)

    def _listen(self) -> None:
        try:
            while True:
                self._events.put(self._connection.recv())
        except (EOFError, OSError):
            self._events.put(None)

    def _submit(self, number: int, order: Order, tries: int) -> None:
        import ray

        nodes = self._nodes()
        error = infeasible(order.action, nodes)
        if error:
            self._connection.send(("answer", number, error))
            return
        for record in order.inputs.values():
            self._provide(record)
        wanted = demand(order.action, nodes)
        task = ray.remote(perform).options(
            name=order.action.id,
            num_cpus=wanted.pop("CPU", 0),
            num_gpus=wanted.pop("GPU", 0),
            memory=int(wanted.pop("memory", 0)) or None,
            resources=wanted,
            max_retries=0,  # what may be tried again is decided here
        )
        reference = task.remote(order, self._site)
        self._tasks[number] = _Task(order, reference, tries)
        reference.future().add_done_callback(lambda done: self._events.put((number, done)))

    def _provide(self, record: Record) -> None:
        """Sees that the nodes can have an input that was made here."""
        if record.key not in self._there and not self._store.absent(record.outputs):
            self._store.share(record)
        self._there.add(record.key)

    def _finished(self, number: int, done: Future[Answer]) -> None:
        from ray import exceptions

        task = self._tasks.pop(number)
        lost = (
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.WorkerCrashedError,
            exceptions.ObjectLostError,
        )
        error = done.exception()
        if error is None:
            answer = done.result()
            if isinstance(answer, Record):
                self._there.add(answer.key)
        elif isinstance(error, lost) and task.tries < TRIES:
            self._connection.send(("say", f"{self._lost()}: {task.order.action.id} runs again"))
            self._submit(number, task.order, task.tries + 1)
            return
        else:
            answer = _failure(task.order.action, error)
        self._connection.send(("answer", number, answer))

    def _lost(self) -> str:
        dead = [n for n in self._nodes() if not n["Alive"] and n["NodeID"] not in self._dead]
        self._dead |= {node["NodeID"] for node in dead}
        names = ", ".join(f"{n['NodeManagerHostname']} ({n['NodeID'][:8]})" for n in dead)
        return f"node {names} was lost" if names else "a node, or a process on one, was lost"

    def _look(self) -> None:
        """Finds orders that wait for a node that is no more."""
        import ray

        nodes = self._nodes() if self._tasks else []
        for number, task in list(self._tasks.items()):
            error = infeasible(task.order.action, nodes)
            if error:
                del self._tasks[number]
                ray.cancel(task.reference)
                self._connection.send(("answer", number, error))

    @staticmethod
    def _nodes() -> list[dict[str, Any]]:
        import ray

        found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return found


def _failure(action: Action, error: BaseException) -> BuilderError:
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return WorkFailedError(
            "a node ran out of memory",
            where=action.id,
            fix="declare what it takes, `build: {memory: 8GB}` in model.yaml, or add a larger node",
            detail=str(error),
        )
    if "No module named 'builder" in str(error):
        return MissingError(
            "triton-builder is not installed on a node",
            where=action.id,
            fix="install the same triton-builder, and what the models require, on every node",
        )
    if isinstance(error, exceptions.RayTaskError):
        return WorkFailedError(
            "an action failed on a node for no reason of its own",
            where=action.id,
            fix="if the cluster is sound, this is a bug of the builder",
            detail=str(error),
        )
    return WorkFailedError(
        "nodes were lost under an action again and again",
        where=action.id,
        found=f"{TRIES} times",
        fix="see the cluster's logs; an action that needs more memory than its node has ends so",
        detail=str(error),
    )


def _not_sent(url: str, warnings: Sequence[str]) -> BuilderError:
    if not warnings:
        return WorkFailedError(
            "a file of the project changed while it was sent to the cluster",
            fix="build again; do not edit sources while a build begins",
        )
    return MissingError(
        "the remote cache does not take the project's sources",
        where="pyproject.toml [tool.triton-builder] remote-cache",
        found=url,
        expected="a place that this machine and every node can read and write",
        fix="see that the address is right and the credentials are there",
        detail="\n".join(warnings),
    )
