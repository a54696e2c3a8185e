"""Running a command and counting what it and its children cost."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of CPU, greatest memory of a single process in MB.

    Attributes:
        output: what the command wrote to standard output.
        errors: what it wrote to standard error.
    """

    wall: float
    cpu: float
    memory: float
    output: str = field(default="", repr=False)
    errors: str = field(default="", repr=False)


def cost(command, **environment):
    """What one run of a command costs, all of its processes together.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{''.join(texts)[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss * 1024 / 1e6, *texts)


def median(costs):
    """The run in the middle, by CPU."""
    return sorted(costs, key=lambda c: c.cpu)[len(costs) // 2]


def least(costs):
    """The quickest run: what disturbs a long one only adds to it."""
    return min(costs, key=lambda c: c.wall)


def middle(command, runs, **environment):
    """The median of some runs of a command."""
    return median([cost(command, **environment) for _ in range(runs)])
