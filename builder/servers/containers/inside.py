"""What a container is asked from inside, so that it can be asked of any engine, here or elsewhere.

What lies in its file systems of memory counts, whether a process still has it or not: that is what
its control group counts, less the page cache.
"""

from __future__ import annotations

import re
from collections import Counter

HELD = "cat /proc/[0-9]*/smaps_rollup; df -kP /dev/shm /tmp"
"""What its processes hold, and what lies in its memory."""
BACKEND = "/opt/tritonserver/backends/tensorrt/libtriton_tensorrt.so"
TENSORRT = (
    f"test -e {BACKEND} || {{ echo none; exit; }}; "
    f"ldd {BACKEND} | sed -n 's|.*libnvinfer[.]so[^ ]* => \\(/[^ ]*\\).*|\\1|p' "
    "| xargs -r readlink -f"
)
"""The library that Triton's TensorRT backend will load, as the loader finds it."""
KILLS = "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control"
"""What was killed in its control group, of the second version or the first."""

_LIBRARY = re.compile(r"/libnvinfer\.so\.(?P<version>\d+(?:\.\d+)+)$", re.MULTILINE)
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


def tensorrt(told: str) -> str | None:
    """The version of TensorRT in what `TENSORRT` printed: `10.5.0`; "" where there is no backend.

    None where nothing tells.
    """
    if told.strip() == "none":
        return ""
    found = _LIBRARY.search(told)
    return found["version"] if found else None
