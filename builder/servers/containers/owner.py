"""Whose a container is: said in a label, so that what a killed builder left is found and removed.

Only those go whose owner is certainly gone. Others run builds on the same engine, on other machines
even, or in other containers of this one: what cannot be seen from here is left alone.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from builder.errors import BuilderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.servers.containers.engine import Engine

LABEL = "triton-builder.owner"
UNSEEN = -1
FORMAT = "{{.ID}} {{.Labels}}"
_OWNED = re.compile(rf"(\w+) .*\b{re.escape(LABEL)}[:=]([^\s/]+/[^\s/]+/\d+/\d+)")


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
    """Removes the containers whose owner is gone; gives their ids. Failing at it fails nothing.

    It goes by the list alone: of a container whose removal was killed, an engine may know no more
    than what it lists.
    """
    listing = ("ps", "--all", "--no-trunc", f"--filter=label={LABEL}", f"--format={FORMAT}")
    try:
        found, me = owners(engine.run(*listing)), Owner.me()
        left = [id_ for id_, owner in found.items() if owner.gone(me, _started)]
        return [id_ for id_ in left if remove(engine, id_) is None]
    except (BuilderError, OSError):
        return []


def owners(listed: str) -> dict[str, Owner]:
    """Whose each container is, by its id; those that are nobody's of ours are left out.

    Args:
        listed: what an engine wrote in `FORMAT`: podman a Go map of labels, docker and nerdctl
            `a=b,c=d`.
    """
    found = (_OWNED.match(line) for line in listed.splitlines())
    read = {one[1]: Owner.read(one[2]) for one in found if one}
    return {id_: owner for id_, owner in read.items() if owner}


def remove(engine: Engine, container: str) -> str | None:
    """Removes a container, running or not; what the engine says where it refuses."""
    done = engine.attempt(*removal(engine), container)
    return done.err.strip() if done.code else None


def removal(engine: Engine) -> tuple[str, ...]:
    """The command that removes a container at once, with the volume that it was given."""
    return ("rm", "--force", "--volumes", *(("--time=0",) if engine.kind == "podman" else ()))


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
