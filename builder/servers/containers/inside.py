"""What a container is asked from inside, so that it can be asked of any engine, here or elsewhere.

What lies in its file systems of memory counts, whether a process still has it or not: that is what
its control group counts, less the page cache.
"""

from __future__ import annotations

import re
from collections import Counter

HELD = "cat /proc/[0-9]*/smaps_rollup; df -kP /dev/shm /tmp"
"""What its processes hold, and what lies in its memory."""
KILLS = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control"
"""What was killed in its control group, of the second version or the first."""

_PSS = re.compile(r"^Pss_(?P<kind>Anon|File|Shmem):\s+(?P<kb>\d+) kB", re.MULTILINE)
_USED = re.compile(r"^(?:tmpfs|shm)\s+\d+\s+(\d+)\s", re.MULTILINE)
_KILLED = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def held(told: str) -> int:
    """Bytes of memory, out of what `HELD` printed."""
    sizes = Counter[str]()
    for found in _PSS.finditer(told):
        sizes[found["kind"]] += int(found["kb"])
    volatile = sum(map(int, _USED.findall(told)))
    return (sizes["Anon"] + sizes["File"] + max(sizes["Shmem"], volatile)) << 10


def killed(told: str) -> int:
    """Processes that were killed for want of memory, out of what `KILLS` printed."""
    return sum(map(int, _KILLED.findall(told)))
