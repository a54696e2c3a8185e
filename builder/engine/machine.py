"""What this machine has for actions: cores, memory that is free, GPUs and their capability."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field

from builder.engine.cgroup import Groups


@dataclass(frozen=True)
class Gpu:
    """One device: its compute capability (`9.0`)."""

    capability: str


@dataclass(frozen=True)
class Machine:
    """This machine, or the part of it that our control group may use.

    Attributes:
        memory: bytes in all.
        gpus: the devices that the driver shows.
        cores: see `usable_cores`.
    """

    memory: int
    gpus: tuple[Gpu, ...] = ()
    cores: int = field(default_factory=lambda: usable_cores())  # noqa: PLW0108 - it stands below

    def free(self) -> int:
        """Bytes that could be taken now without pushing anything out."""
        import psutil

        available = int(psutil.virtual_memory().available)
        ours = Groups().free()
        return available if ours is None else min(available, ours)


def held(pid: int) -> int:
    """Bytes that a process holds now; 0 where it is gone."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@functools.cache
def this() -> Machine:
    """The machine we are on."""
    import psutil

    total, limit = int(psutil.virtual_memory().total), Groups().memory()
    return Machine(total if limit is None else min(total, limit), _gpus())


def usable_cores() -> int:
    """Those that this process may run on, as many as its quota lets it keep busy."""
    ours, quota = len(os.sched_getaffinity(0)), Groups().cores()
    return ours if quota is None else min(ours, quota)


def _gpus() -> tuple[Gpu, ...]:
    if not shutil.which("nvidia-smi"):
        return ()
    query = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
    try:
        done = subprocess.run(query, capture_output=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    told = done.stdout.decode(errors="replace").split("\n")
    return tuple(Gpu(line.strip()) for line in told if re.fullmatch(r"\s*\d+\.\d+\s*", line))
