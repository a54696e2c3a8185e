"""Actions on a Ray cluster. Ray decides where they run and when; it is spoken to elsewhere."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.engine import machine as machines
from builder.engine.ray import gateway
from builder.engine.ray.cluster import Cluster, unreachable
from builder.engine.ray.gateway import Build
from builder.engine.ray.node import GATEWAY
from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.files import remove_tree
from builder.plan.evaluate import Record
from builder.store.digests import name_of, of_read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.engine.executor import Answer, Order
    from builder.engine.ray.gateway import Message
    from builder.plan.action import Action
    from builder.remote.cache import Remote
    from builder.store.store import Store

GRACE = 1.0
"""Seconds that the gateway has to end what runs on the cluster."""

LOG = 20
"""Lines of Ray's own output that an error shows."""


class RayExecutor:
    """Actions as tasks of a Ray cluster, with sources, inputs and results in the remote cache.

    Args:
        store: where records go; blobs stay in its remote cache until somebody wants them.
        address: the cluster's: `auto`, `host:port`, `ray://host:port`; None starts one here.
        release: the target's Triton release.
        say: told in a line when a node is lost.

    Raises:
        InputError: there is no remote cache, or it may not be written.
    """

    inputs_here = False

    def __init__(
        self, store: Store, *, address: str | None, release: str, say: Callable[[str], None]
    ) -> None:
        remote = store.remote
        if remote is None or remote.read_only or remote.url.startswith("memory:"):
            raise _no_cache(remote)
        self._store = store
        self._address = address
        self._say = say
        self._ready = False
        self._orders: dict[int, Order] = {}
        self._lanes: dict[int, str] = {}
        self._count = 0
        # not the user's own folder for temporary files: a socket's path may have 107 bytes
        self._folder = Path(tempfile.mkdtemp(prefix=GATEWAY, dir="/tmp"))
        marks = {f"compute_capability:{g.capability}": 1.0 for g in machines.this().gpus}
        cluster = Cluster(address, self._folder, marks)
        build = Build(store.root, store.project, remote.url, release)
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=gateway.serve, args=(theirs, self._log, cluster, build)
        )
        self._process.start()
        theirs.close()

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    def refuse(self, _action: Action) -> BuilderError | None:
        """None: nodes come and go. What no node can run is answered with an error."""
        return None

    def room(self, _action: Action) -> bool:
        """Always: what waits, waits at Ray, which may have nodes come for it."""
        return True

    def start(self, order: Order) -> str:
        """Hands an action to the cluster."""
        number = self._count = self._count + 1
        taken = set(self._lanes.values())
        lane = next(name for i in range(1, number + 1) if (name := f"ray {i}") not in taken)
        self._orders[number], self._lanes[number] = order, lane
        with contextlib.suppress(BrokenPipeError):  # `wait` tells what happened
            self._connection.send((number, order))
        return lane

    def wait(self, seconds: float | None) -> Sequence[tuple[Order, Answer]]:
        """The orders that were finished; waits for one, at most so long.

        Raises:
            BuilderError: the cluster cannot be had, or was lost.
        """
        answers: list[tuple[Order, Answer]] = []
        try:
            while self._connection.poll(0 if answers else seconds):
                answers += self._take(self._connection.recv())
        except (EOFError, OSError):
            raise self._gone() from None
        return answers

    def stop(self) -> None:
        """Ends what runs on the cluster, and a cluster that was started here."""
        self._connection.close()
        self._process.join(GRACE)
        if self._process.is_alive() and self._process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._process.join()
        remove_tree(self._folder)

    def _take(self, message: Message) -> list[tuple[Order, Answer]]:
        if message[0] == "ready":
            self._ready = True
        elif message[0] == "say":
            self._say(message[1])
        elif message[0] == "answer":
            _, number, answer = message
            if number < 0 and isinstance(answer, BuilderError):
                raise answer
            del self._lanes[number]
            order = self._orders.pop(number)
            if isinstance(answer, Record):
                answer = differing(answer, order.action.id, self._store) or answer
            if isinstance(answer, Record):
                self._store.learn(answer)
            return [(order, answer)]
        return []

    def _gone(self) -> BuilderError:
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        detail = "\n".join(lines[-LOG:])
        if not self._ready:
            return unreachable(self._address, detail)
        return WorkFailedError(
            "the Ray cluster was lost",
            where="--executor ray",
            found=self._address or "the Ray of this machine",
            expected="a cluster whose head stays up until the build is done",
            fix="see `ray status`, and build again: what was finished is kept",
            detail=detail,
        )


def differing(record: Record, where: str, store: Store) -> BuilderError | None:
    """The error for a result that this machine would not have made; None where it would.

    Its source read something on the node that is another here: a file outside of the project,
    an environment variable, a distribution that no spec requires.
    """
    for read, there in record.reads.items():
        here = of_read(read, store.project, store.files)
        if here != there:
            return MissingError(
                f"{name_of(read)} differs between this machine and a node",
                where=where,
                found=there,
                expected=here,
                fix="have the same on every node; of all that a source reads, only files of the "
                "project travel there",
            )
    return None


def _no_cache(remote: Remote | None) -> BuilderError:
    return InputError(
        "a build on a cluster goes through the remote cache",
        where="pyproject.toml [tool.triton-builder] remote-cache",
        found=f"{remote.url}{', read-only' if remote.read_only else ''}" if remote else "none",
        expected="an address that this machine and every node can read and write",
        fix='remote-cache = "s3://BUCKET/PREFIX", or a folder that all of them mount: "file://..."',
    )
