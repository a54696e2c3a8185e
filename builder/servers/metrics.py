"""What Triton's metrics say of GPUs: Prometheus' text, read as far as it is needed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from builder.servers.endpoint import Endpoint, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

USED = re.compile(
    r"^nv_gpu_memory_used_bytes\{[^}]*gpu_uuid=\"(?P<gpu>[^\"]+)\"[^}]*\}\s+(?P<bytes>[0-9.eE+]+)",
    re.MULTILINE,
)
INTERVAL = 500
"""Milliseconds between two looks of a server of ours at its GPUs."""
UNTOLD = 2.0
"""Seconds between two looks of one that was told nothing: Triton's default."""
PROMPT = 5.0


def gpu_memory(text: str) -> Mapping[str, int]:
    """Bytes in use by GPU; empty where there is none. What others have on it counts as well."""
    return {found["gpu"]: int(float(found["bytes"])) for found in USED.finditer(text)}


def gpu_memory_now(address: str, interval: float) -> int | None:
    """Bytes in use on all GPUs of a server; None where it has none, or does not tell.

    Args:
        address: where it serves metrics.
        interval: seconds between two of its own looks: so long it takes to be up to date.
    """
    if _asked(address) is None:
        return None
    time.sleep(1.2 * interval)
    return _asked(address)


def _asked(address: str) -> int | None:
    try:
        told, _ = Endpoint(address).call("GET", "/metrics", timeout=PROMPT)
    except (UnreachableError, RefusedError):
        return None
    used = gpu_memory(told.decode(errors="replace"))
    return sum(used.values()) if used else None
