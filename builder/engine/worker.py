"""Worker processes: they start once, keep their imports, and do one action after another."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.engine.digests import of_read
from builder.engine.store import CorruptBlobError, Store
from builder.errors import BuilderError, WorkFailedError
from builder.files import disk_full
from builder.plan.evaluate import Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from builder.plan.action import Action

THREADS = "1"
"""Threads of a numeric library in a worker. One: sums come out alike on every machine,
and independent actions fill the other cores."""

GRACE = 1.0
"""Seconds that an idle worker has to leave."""


@dataclass(frozen=True)
class Order:
    """An action with everything that a worker needs to do it."""

    action: Action
    key: str
    ingredients: Mapping[str, Any]
    inputs: Mapping[str, Record]
    runtime: Path | None


class Worker:
    """One worker process, seen from the engine."""

    def __init__(self, store: Store) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, str(store.root), str(store.project)), daemon=True
        )
        self.busy: Order | None = None
        self.affinity = ""
        with _environment():
            self.process.start()
        theirs.close()

    def give(self, order: Order) -> None:
        """Has the worker start on an action."""
        self.busy, self.affinity = order, order.action.affinity
        self.connection.send(order)

    def result(self) -> Record | BuilderError:
        """What came of the action; call it when the connection is readable."""
        order = self.busy
        self.busy = None
        if order is None:
            raise RuntimeError("an idle worker has no result")
        try:
            answer: Record | BuilderError = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return _died(order, self.process.exitcode or 0)
        return answer

    def stop(self) -> None:
        """Ends the process: an idle one leaves by itself, a busy one at once."""
        self.connection.close()
        if not self.busy:
            self.process.join(GRACE)
        if self.process.is_alive() and self.process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
        self.process.join()


def _died(order: Order, code: int) -> BuilderError:
    if code >= 0:
        return WorkFailedError(
            "the source ended the process",
            where=order.action.id,
            found=f"exit code {code}",
            expected="functions that return",
            fix="remove os._exit from the source",
        )
    name = signal.Signals(-code).name
    fix = "give the machine more memory, or build with fewer --jobs" if name == "SIGKILL" else None
    return WorkFailedError(
        "the worker process died",
        where=order.action.id,
        found=name,
        expected="a result",
        fix=fix
        or "run again with --jobs 1; if it dies again, the model crashes torch or ONNX Runtime",
    )


@contextlib.contextmanager
def _environment() -> Any:
    """What workers inherit: fixed threads, fixed hashes, no pyc files, no network hubs."""
    fixed = {
        "OMP_NUM_THREADS": THREADS,
        "MKL_NUM_THREADS": THREADS,
        "OPENBLAS_NUM_THREADS": THREADS,
        "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",  # of locks of killed workers
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    before = {name: os.environ.get(name) for name in fixed}
    os.environ.update(fixed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, root: str, project: str) -> None:
    """The worker's own loop."""
    os.setpgid(0, 0)  # Ctrl-C is the engine's to handle
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = Store(Path(root), Path(project))
    while True:
        try:
            order: Order = connection.recv()
        except (EOFError, OSError):
            return
        try:
            connection.send(perform(order, store))
        except BrokenPipeError:
            return


def _die_with_parent() -> None:
    """A worker must not outlive a killed builder (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit(1)


def perform(order: Order, store: Store) -> Record | BuilderError:
    """Does one action, or finds that another build has just done it."""
    where = order.action.id
    try:
        with store.sole(order.key):
            done = store.find(order.key)
            if done:
                return done
            with store.scratch() as folder:
                return _run(order, store, folder)
    except BuilderError as e:
        return e
    except CorruptBlobError as e:
        return WorkFailedError(
            "a file in the store was corrupt and has been dropped",
            where=where,
            found=str(e),
            fix="build again: it will be made anew",
        )


def _run(order: Order, store: Store, folder: Path) -> Record | BuilderError:
    from builder.stages.job import Job

    action = order.action
    out, log = folder / "out", folder / "log"
    out.mkdir()
    inputs = {}
    for label, record in order.inputs.items():
        inputs[label] = folder / "in" / label
        inputs[label].mkdir(parents=True)
        store.give(record.outputs, inputs[label])
    job = Job(action.params, inputs, store.project, out, action.id, order.runtime)
    start = time.perf_counter()
    try:
        with _captured(log), disk_full(store.root):
            stage = importlib.import_module(f"builder.stages.{action.stage}")
            facts = dict(stage.run(job))
    except BuilderError as e:
        e.where = e.where or action.id
        e.detail = e.detail or _tail(log)
        return e
    except MemoryError:
        return WorkFailedError("out of memory", where=action.id, detail=_tail(log))
    except Exception as e:  # noqa: BLE001 - the border of a worker: nothing may pass unseen
        return WorkFailedError(
            f"{type(e).__name__}: {e}" if str(e) else type(e).__name__,
            where=action.id,
            fix="if the model is sound, this is a bug of the builder",
            detail=traceback.format_exc() + _tail(log),
        )
    seconds = time.perf_counter() - start
    reads = {r: of_read(r, store.project, store.files) for r in facts.pop("reads", [])}
    outputs = store.take(out)
    record = Record(order.key, outputs, facts, reads, order.ingredients, seconds)
    store.keep(action.id, record)
    return record


@contextlib.contextmanager
def _captured(log: Path) -> Any:
    """Sends what this process and its native libraries print to a file."""
    _flush()
    saved = os.dup(1), os.dup(2)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        _flush()
        for number, handle in enumerate(saved, start=1):
            os.dup2(handle, number)
            os.close(handle)


def _flush() -> None:
    """Empties Python's own buffers; a source may have closed them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, OSError):
            stream.flush()


def _tail(log: Path, lines: int = 15) -> str:
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
