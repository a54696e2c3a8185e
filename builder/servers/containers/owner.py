"""Whose a container is: said in a label, so that what a killed builder left is found and removed.

Only those go whose owner is certainly gone. Others run builds on the same engine, on other machines
even, or in other containers of this one: what cannot be seen from here is left alone.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from builder.errors import BuilderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.servers.containers.engine import Engine

LABEL = "triton-builder.owner"
UNSEEN = -1


@dataclass(frozen=True)
class Owner:
    """A process, wherever it runs and whenever.

    Attributes:
        boot: names the time since its machine was started.
        space: names the process ids that it sees.
        pid: its own.
        started: when, in ticks after the boot: ids are used again.
    """

    boot: str
    space: str
    pid: int
    started: int

    @classmethod
    def me(cls) -> Self:
        """This process."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink().name
        pid = os.getpid()
        return cls(boot, space, pid, _started(pid) or 0)

    @classmethod
    def read(cls, label: str) -> Self | None:
        """What a label says; None where it is none of ours."""
        try:
            boot, space, pid, started = label.split("/")
            return cls(boot, space, int(pid), int(started))
        except ValueError:
            return None

    @property
    def label(self) -> str:
        """How a label says it."""
        return f"{self.boot}/{self.space}/{self.pid}/{self.started}"

    def gone(self, me: Owner, started: Callable[[int], int | None]) -> bool:
        """Whether it certainly is no more.

        Args:
            me: who asks.
            started: when the process of an id was started; None where there is none, `UNSEEN`
                where nobody tells us.
        """
        if (self.boot, self.space) != (me.boot, me.space):
            return False
        return started(self.pid) not in (self.started, UNSEEN)


def collect(engine: Engine) -> list[str]:
    """Removes the containers whose owner is gone; gives their ids. Failing at it fails nothing."""
    try:
        ids = engine.run("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={LABEL}").split()
        me = Owner.me()
        return [id_ for id_ in ids if _left(engine, id_, me) and remove(engine, id_) is None]
    except (BuilderError, OSError):
        return []


def remove(engine: Engine, container: str) -> str | None:
    """Removes a container, running or not; what the engine says where it refuses."""
    done = engine.attempt(*removal(engine), container)
    return done.err.strip() if done.code else None


def removal(engine: Engine) -> tuple[str, ...]:
    """The command that removes a container at once, with the volume that it was given."""
    return ("rm", "--force", "--volumes", *(("--time=0",) if engine.kind == "podman" else ()))


def _left(engine: Engine, container: str, me: Owner) -> bool:
    try:
        facts = engine.inspect(container)
    except BuilderError:  # its owner has just removed it
        return False
    label = (facts.get("Config") or {}).get("Labels", {}).get(LABEL, "")
    owner = Owner.read(label)
    return owner is not None and owner.gone(me, _started)


def _started(pid: int) -> int | None:
    """When a process was started; None where it is gone, or waits only to be reaped.

    `UNSEEN` where it runs, and is somebody's whom /proc does not show us (hidepid, proc(5)).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNSEEN if _runs(pid) else None
    state, *numbers = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(numbers[18])


def _runs(pid: int) -> bool:
    """Whether a process is there, whether or not we may do anything to it."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
