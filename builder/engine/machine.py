"""What this machine has for actions: cores, memory that is free, GPUs and their capability."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


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
        cores: those that this process may run on.
    """

    memory: int
    gpus: tuple[Gpu, ...] = ()
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))

    def free(self) -> int:
        """Bytes that could be taken now without pushing anything out."""
        import psutil

        return min([int(psutil.virtual_memory().available), *_cgroup_free()])


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

    total, limit = int(psutil.virtual_memory().total), _number("memory.max")
    return Machine(total if limit is None else min(total, limit), _gpus())


def _cgroup_free() -> list[int]:
    limit, used = _number("memory.max"), _number("memory.current")
    if limit is None or used is None:
        return []
    cache = 0
    for line in (_CGROUP / "memory.stat").read_text().splitlines():
        if line.startswith("inactive_file "):
            cache = int(line.split()[1])
    return [limit - used + cache]


def _number(name: str) -> int | None:
    try:
        return int((_CGROUP / name).read_text())
    except (OSError, ValueError):  # no such file, or `max`
        return None


def _gpus() -> tuple[Gpu, ...]:
    if not shutil.which("nvidia-smi"):
        return ()
    query = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(Gpu(line.strip()) for line in done.stdout.splitlines() if line.strip())
