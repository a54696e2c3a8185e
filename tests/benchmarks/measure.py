"""Running a command and counting what it and its children cost."""

import os
import subprocess
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of CPU, greatest memory of a single process in MB."""

    wall: float
    cpu: float
    memory: float


def cost(command, **environment):
    """What one run of a command costs, all of its processes together.

    Raises:
        RuntimeError: the command failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command} failed:\n{output.decode()[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - start, cpu, usage.ru_maxrss / 1000)


def median(costs):
    """The run in the middle, by CPU."""
    return sorted(costs, key=lambda c: c.cpu)[len(costs) // 2]
