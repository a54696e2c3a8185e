"""What a user's Python asks of the world that no key can name: network, clock, chance.

Only what their own code asks for counts: libraries read the clock for their logs and draw
names for temporary files all day. While somebody watches, the few functions that all such
reads come down to are wrapped, and look at who called them. Network comes from Python's audit
events instead. Variables of the environment are seen as well; those have a value that can be
compared, so they are inputs rather than hazards.

Native code is not seen, nor are programs that a source starts.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import sys
import time
import uuid
from contextlib import ExitStack, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.stages.usercode import replaced
from builder.stages.usercode.reads import editable
from builder.stages.usercode.seen import Hazard, Watch

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Collection, Iterator

    from builder.stages.usercode.seen import Instruction

NETWORK = frozenset(
    f"socket.{event}"
    for event in ("connect", "getaddrinfo", "gethostbyname", "gethostbyaddr", "sendto", "sendmsg")
)
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")  # noqa: S104 - compared with, not bound to
"""How addresses of this machine begin. What answers there is mostly a part of the program itself
(a pool of workers, a process group of torch)."""

CHANCE = ("/dev/urandom", "/dev/random")

HARMLESS = frozenset({"importlib._bootstrap", "numpy.random._pickle"})
"""Below these nobody asked for chance: libraries are being imported, and make generators that are
seeded later; or a generator is being unpickled, and gets its state next."""

THROUGH = frozenset({"os", "random", "secrets", "uuid", "_collections_abc", "collections.abc"})
"""Modules that pass a call on: whoever called them is who asked."""

WALL = (time.CLOCK_REALTIME, getattr(time, "CLOCK_TAI", time.CLOCK_REALTIME))
"""Clocks that tell the date. Others measure how long something takes; that is no output."""

Arguments = tuple[Any, ...]


def _none(args: Arguments) -> bool:
    """Whether the first argument was left out: then the present is meant, or no seed."""
    return args[:1] in ((), (None,))


READS_NOW: dict[str, Callable[[Arguments], bool]] = {
    "time": lambda _: True,
    "time_ns": lambda _: True,
    "localtime": _none,
    "gmtime": _none,
    "ctime": _none,
    "asctime": lambda args: not args,
    "strftime": lambda args: len(args) == 1,
    "clock_gettime": lambda args: args[0] in WALL,
    "clock_gettime_ns": lambda args: args[0] in WALL,
}
"""Functions of `time`, and whether a call with these arguments asks for the present."""

_NUMPY = "numpy.random without a seed"
_watches: list[Watch] = []
_written: set[str] = set()
"""Variables that this process set itself."""
_copies: set[Instruction] = set()
"""Instructions that copy the whole environment, as `{**os.environ}` for a child process does."""


@contextmanager
def watching(project: Path) -> Iterator[Watch]:
    """Sees what the project's own code asks for meanwhile."""
    _listen()
    watch = Watch(project)
    with ExitStack() as stack:
        if not _watches:
            _wrap_all(stack)
        _watches.append(watch)
        stack.callback(_watches.remove, watch)
        yield watch


# --- whose call it is --------------------------------------------------------------------


def _direct(what: str, call: str) -> None:
    """Takes note if the user's own code called, itself or through `THROUGH`."""
    frame, name = _caller(sys._getframe(2))  # noqa: SLF001 - the documented way to one's caller
    if frame is not None:
        _note(frame, what, name or call)


def _anywhere(
    what: str, call: str, *, own_need: Collection[str] = (), drawn: Instruction | None = None
) -> None:
    """Takes note if the user's code is anywhere among the callers.

    Args:
        what: the hazard.
        call: the name to give it.
        own_need: modules below which a call is a need of their own.
        drawn: the instruction that may yet be found to have had a seed.
    """
    frame: types.FrameType | None = sys._getframe(2)  # noqa: SLF001
    while frame is not None and frame.f_globals.get("__name__") not in own_need:
        if any(_own(frame.f_code.co_filename, w.project) for w in _watches):
            _note(frame, what, call, drawn)
            return
        frame = frame.f_back


def _caller(frame: types.FrameType | None) -> tuple[types.FrameType | None, str]:
    """The frame that asked, and what it called, where that was something of `THROUGH`."""
    name = ""
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module in THROUGH:
            name = f"{module}.{frame.f_code.co_qualname.removesuffix('.__init__')}"
        elif not _generated(frame.f_code.co_filename):
            break
        frame = frame.f_back
    return frame, name


def _generated(filename: str) -> bool:
    """Whether code was made on the fly: by dataclasses, namedtuple."""
    return filename.startswith("<") and not filename.startswith("<frozen")


def _note(frame: types.FrameType, what: str, call: str, drawn: Instruction | None = None) -> None:
    for watch in _watches:
        place = _own(frame.f_code.co_filename, watch.project)
        if not place:
            continue
        hazard = Hazard(f"{place}:{frame.f_lineno}", what, call)
        if drawn:
            watch.settle()
            watch.drawn = (drawn, hazard)
        else:
            watch.hazards.add(hazard)


def _instruction(frame: types.FrameType) -> Instruction:
    return frame.f_code, frame.f_lasti


@functools.lru_cache(maxsize=1024)
def _own(filename: str, project: Path) -> str | None:
    """A file of the user's own code, by its path below the project; None for any other."""
    path = Path(filename)
    return path.relative_to(project).as_posix() if editable(path, project) else None


# --- network: audit events ---------------------------------------------------------------


@functools.cache
def _listen() -> None:
    """Adds the hook, once a process: audit hooks cannot be removed."""
    sys.addaudithook(_hook)


def _hook(event: str, args: Arguments) -> None:
    if not _watches:
        return
    if event == "open":
        if args[0] in CHANCE:
            _direct("randomness", str(args[0]))
    elif event in NETWORK:
        if _outside(event, args):
            _anywhere("network", event)
    elif event in {"os.putenv", "os.unsetenv"}:
        _written.add(os.fsdecode(args[0]))


def _outside(event: str, args: Arguments) -> bool:
    """Whether an event is about another machine."""
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        connection, address = args[:2]
        if connection.family not in (socket.AF_INET, socket.AF_INET6) or not address:
            return False
        host = address[0]
    else:
        host = args[0]
    host = host.decode(errors="replace") if isinstance(host, bytes) else str(host or LOOPBACK[0])
    return not host.startswith(LOOPBACK) and host != socket.gethostname()


# --- clock, chance, environment: wrappers ------------------------------------------------


def _wrap_all(stack: ExitStack) -> None:
    """Puts every wrapper in place until the stack is left."""
    for name, now in READS_NOW.items():
        noting = _noting("clock", f"time.{name}", getattr(time, name), now)
        replaced.attribute(stack, time, name, noting)
    for kind, names in ((datetime, ("now", "utcnow")), (date, ("today",))):
        for name in names:
            replaced.slot(stack, kind, name, _class_clock)
    chance = functools.partial(_noting, "randomness")
    for name in ("urandom", "getrandom"):
        replaced.attribute(stack, os, name, chance(f"os.{name}", getattr(os, name)))
    replaced.attribute(stack, uuid, "uuid1", chance("uuid.uuid1", uuid.uuid1))
    # all of `secrets` and of SystemRandom comes down to this
    hidden: Any = random
    replaced.attribute(stack, hidden, "_urandom", chance("os.urandom", hidden._urandom))  # noqa: SLF001
    replaced.attribute(stack, random, "seed", chance("random.seed", random.seed, _none))
    seeds = chance("random.Random.seed", random.Random.seed, lambda args: _none(args[1:]))
    replaced.attribute(stack, random.Random, "seed", seeds)
    replaced.attribute(stack, os._Environ, "__getitem__", _getitem(os._Environ.__getitem__))  # noqa: SLF001
    replaced.attribute(stack, os._Environ, "__iter__", _iter(os._Environ.__iter__))  # noqa: SLF001
    if "numpy" in sys.modules:
        from numpy.random import MT19937, bit_generator

        drawing: Any = bit_generator
        replaced.attribute(stack, drawing, "randbits", _numpy_entropy(drawing.randbits))
        replaced.slot(stack, MT19937, "_legacy_seeding", _numpy_seed)
    if "torch" in sys.modules:
        replaced.slot(stack, sys.modules["torch"].Generator, "seed", _torch_entropy)


def _noting(
    what: str,
    call: str,
    function: Any,
    counts: Callable[[Arguments], bool] = lambda _: True,
) -> Any:
    """A function that takes note of the calls that count."""

    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        if _watches and counts((*args, *kwargs.values())):
            _direct(what, call)
        return function(*args, **kwargs)

    return noting


def _numpy_entropy(randbits: Any) -> Any:
    """What numpy seeds a generator with that was given no seed, by whomever."""

    def noting(bits: int) -> int:
        if _watches:
            here = _instruction(sys._getframe(1))  # noqa: SLF001
            _anywhere("randomness", _NUMPY, own_need=HARMLESS, drawn=here)
        drawn: int = randbits(bits)
        return drawn

    return noting


def _numpy_seed(seeding: Any) -> Any:
    """A seed that follows on a draw, which was for nothing then."""

    def noting(generator: Any, seed: Any) -> Any:
        here = _instruction(sys._getframe(1))  # noqa: SLF001
        for watch in _watches:
            if seed is not None and watch.drawn and watch.drawn[0] == here:
                watch.drawn = None
        return seeding(generator, seed)

    return noting


def _torch_entropy(seed: Any) -> Any:
    def noting(generator: Any) -> int:
        if _watches:
            _anywhere("randomness", "torch.seed", own_need=HARMLESS)
        drawn: int = seed(generator)
        return drawn

    return noting


def _class_clock(method: Any) -> Any:
    """`datetime.now` and its like, a classmethod."""

    def noting(cls: type, *args: Any, **kwargs: Any) -> Any:
        if _watches:
            _direct("clock", f"{cls.__module__}.{cls.__qualname__}.{method.__name__}")
        return method.__get__(None, cls)(*args, **kwargs)

    return classmethod(noting)


def _getitem(getitem: Any) -> Any:
    def noting(self: Any, key: str) -> Any:
        if _watches and self is os.environ and key not in _written:
            frame, _ = _caller(sys._getframe(1))  # noqa: SLF001
            if frame is not None and _instruction(frame) not in _copies:
                for watch in _watches:
                    if _own(frame.f_code.co_filename, watch.project):
                        watch.variables.add(key)
        return getitem(self, key)

    return noting


def _iter(iterate: Any) -> Any:
    """Who goes over all names copies them for a child process or a print: no read of each."""

    def noting(self: Any) -> Any:
        if _watches:
            frame, _ = _caller(sys._getframe(1))  # noqa: SLF001
            if frame is not None:
                _copies.add(_instruction(frame))
        return iterate(self)

    return noting
