"""Worker processes: they start once, keep their imports, and do one action after another."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path
from time import perf_counter  # bound now: a source may put something else in its place
from types import ModuleType
from typing import TYPE_CHECKING, Any

from builder.engine.baseline import Baseline
from builder.engine.executor import Damaged
from builder.engine.variables import variables
from builder.errors import BuilderError, WorkFailedError
from builder.files import disk_full, open_files
from builder.plan.action import Needs
from builder.plan.evaluate import Record
from builder.plan.reads import DISTRIBUTION, VARIABLE
from builder.stages.usercode import libraries
from builder.store.blobs import DamagedError
from builder.store.digests import of_read
from builder.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from builder.engine.executor import Answer, Order
    from builder.stages.job import Job

THREADS = "1"
"""Threads of a numeric library in a worker. One: sums come out alike on every machine,
and independent actions fill the other cores."""

GRACE = 1.0
"""Seconds that an idle worker has to leave."""


class Worker:
    """One worker process, seen from the engine.

    Attributes:
        busy: what it is at.
        needs: what that takes.
        affinity: whose model it has loaded.
        spent: whether it is to do nothing more: it is dead, or a source has put something of its
            own into a library, which another model would meet there.
    """

    def __init__(self, store: Store, name: str = "worker") -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, str(store.root), str(store.project)), daemon=True
        )
        self.name = name
        self.busy: Order | None = None
        self.needs = Needs()
        self.affinity = ""
        self.spent = False
        with variables(FIXED), _nobody_main():
            self.process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid or 0

    def give(self, order: Order) -> None:
        """Has the worker start on an action."""
        self.busy, self.needs = order, order.action.needs
        self.affinity = order.action.affinity
        self.connection.send(order)

    def result(self) -> Answer:
        """What came of the action; call it when the connection is readable."""
        order = self.busy
        self.busy = None
        if order is None:
            raise RuntimeError("an idle worker has no result")
        try:
            answer: Answer
            answer, self.spent = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.spent = True
            return _died(order, self.process.exitcode or 0)
        return answer

    def stop(self) -> None:
        """Ends the process and all that it started; an idle one is left a moment to leave."""
        self.connection.close()
        if not self.busy:
            self.process.join(GRACE)
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if self.process.is_alive():
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
    fix = (
        "if it ran out of memory: declare what it takes, `build: {memory: 8GB}` in model.yaml, so "
        "that nothing runs beside it, or build on a larger machine"
        if name == "SIGKILL"
        else None
    )
    return WorkFailedError(
        "the worker process died",
        where=order.action.id,
        found=name,
        expected="a result",
        fix=fix
        or "run again with --jobs 1; if it dies again, the model crashes torch or ONNX Runtime",
    )


LAST = 8192
"""Bytes of what an action printed that are looked at for an error."""

FIXED = {
    "OMP_NUM_THREADS": THREADS,
    "MKL_NUM_THREADS": THREADS,
    "OPENBLAS_NUM_THREADS": THREADS,
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",  # of locks of killed workers
    "PYTHONDONTWRITEBYTECODE": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONOPTIMIZE": "",
}
"""Variables of every worker: fixed threads, hashes, time zone and language, no pyc files, no
network hubs."""


@contextlib.contextmanager
def _nobody_main() -> Any:
    """Keeps a new process from importing the main module of this one, whoever's that is."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(connection: Connection, root: str, project: str) -> None:
    """The worker's own loop."""
    os.setpgid(0, 0)  # Ctrl-C is the engine's to handle
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = Store(Path(root), Path(project))
    baseline = Baseline(Path(project))
    with store.leases.take() as lease:
        while (order := _order(connection)) is not None:
            baseline.restore()
            answer = perform(order, store, lease)
            spent = bool(libraries.changed())
            with contextlib.suppress(OSError):  # the engine is gone: so will the next order be
                connection.send((answer, spent))
    os._exit(0)  # taking torch down takes a second, and nothing is left to be lost


def _order(connection: Connection) -> Order | None:
    """The next order; None where there will be no more."""
    try:
        order: Order = connection.recv()
    except (EOFError, OSError):
        return None
    return order


def _die_with_parent() -> None:
    """A worker must not outlive a killed builder (prctl(2), PR_SET_PDEATHSIG)."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent and os.getppid() != parent.pid:  # it was killed before; it may be process 1 itself
        sys.exit(1)


def perform(order: Order, store: Store, lease: Path | None = None) -> Answer:
    """Does one action, or finds that another build has just done it.

    Args:
        order: the action; the blobs of its inputs are in the store.
        store: where the result goes.
        lease: a lease of this process, for work in progress.
    """
    try:
        with open_files(), store.sole(order.key):
            done = store.find(order.key)
            if done:
                return done
            with store.scratch(lease) as folder:
                return _run(order, store, folder)
    except BuilderError as e:
        e.where = e.where or order.action.id
        return e
    except DamagedError as e:
        return Damaged(e.digest)
    except Exception as e:  # noqa: BLE001 - the border of a worker: nothing may pass unseen
        return WorkFailedError(
            f"{type(e).__name__}: {e}",
            where=order.action.id,
            fix="if it names a file of the store, remove that; else this is a bug of the builder",
            detail=traceback.format_exc(),
        )


def _run(order: Order, store: Store, folder: Path) -> Answer:
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
    _forget_peak()
    begun, start = out.stat().st_mtime_ns, perf_counter()
    try:
        with open_files(), _captured(log), disk_full(store.root):
            facts = dict(_done(order, job, store))
    except BuilderError as e:
        e.where = e.where or action.id
        e.detail = _with_output(e.detail, log)
        return e
    except MemoryError:
        return WorkFailedError("out of memory", where=action.id, detail=_with_output(None, log))
    except Exception as e:  # noqa: BLE001 - the border of a worker: nothing may pass unseen
        return WorkFailedError(
            f"{type(e).__name__}: {e}" if str(e) else type(e).__name__,
            where=action.id,
            fix="if the model is sound, this is a bug of the builder",
            detail=_with_output(traceback.format_exc(), log),
        )
    seconds = perf_counter() - start
    said = {f"{VARIABLE}{name}" for name in FIXED} | {f"{DISTRIBUTION}{t}" for t in action.tools}
    reads = {
        read: of_read(read, store.project, store.files)
        for read in facts.pop("reads", [])
        if read not in said
    }
    changed = _changed(order, reads, store, begun)
    if changed:
        return WorkFailedError(
            "a source changed while it was being built",
            where=action.id,
            found=", ".join(changed),
            expected="the files that the build began with",
            fix="build again; the result was not kept",
        )
    outputs = store.take(out)
    record = Record(order.key, outputs, facts, reads, order.ingredients, seconds, _peak())
    store.keep(record)
    return record


def _done(order: Order, job: Job, store: Store) -> Mapping[str, Any]:
    """What the stage tells, here or in the container that it wants."""
    if order.action.needs.capability:  # a plan's; what measuring its layers took is kept
        from builder.stages.tensorrt import TIMINGS

        os.environ.setdefault(TIMINGS, str(store.root / "timings"))
    if order.action.needs.image:
        from builder.engine import contained

        return contained.run(order.action, job)
    facts: Mapping[str, Any] = importlib.import_module(f"builder.stages.{order.action.stage}").run(
        job
    )
    return facts


def _changed(order: Order, reads: Mapping[str, str], store: Store, begun: int) -> list[str]:
    """Files that are not, or may not be, what the action has seen.

    Args:
        order: its declared files have the digests of the plan.
        reads: what was found out to be read, with digests as of now.
        store: the project's.
        begun: when the action began, in nanoseconds of the file system's clock.
    """
    found = [
        path
        for path, digest in order.ingredients["files"].values()
        if store.files.of(store.project / path) != digest
    ]
    for read in reads:
        with contextlib.suppress(OSError):  # no file, or none any more
            stat = (store.project / read).stat()
            if min(stat.st_mtime_ns, stat.st_ctime_ns) >= begun:  # a time to come may be made up
                found.append(read)
    return sorted(set(found))


def _forget_peak() -> None:
    """Has the kernel count this process's peak of memory from now on (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """The most memory that this process held since; bytes, 0 where the kernel does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


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


def _with_output(detail: str | None, log: Path, lines: int = 15) -> str | None:
    """An error's evidence, and the last that the action printed."""
    try:
        with log.open("rb") as file:
            file.seek(-min(LAST, file.seek(0, os.SEEK_END)), os.SEEK_END)
            text = file.read().decode(errors="replace")
    except OSError:
        return detail
    printed = "\n".join(text.splitlines()[-lines:])
    if not printed.strip():
        return detail
    return f"{detail.rstrip()}\n\nit printed:\n{printed}" if detail else printed
