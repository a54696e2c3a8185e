"""What Triton's metrics say of GPUs: Prometheus' text, read as far as it is needed."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from builder.servers.endpoint import Endpoint, RefusedError, UnreachableError
from builder.servers.gpus import Gpu

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMORY = re.compile(
    r"^nv_gpu_memory_(?P<kind>used|total)_bytes\{[^}]*gpu_uuid=\"(?P<gpu>[^\"]+)\"[^}]*\}\s+"
    r"(?P<bytes>[0-9.eE+]+)",
    re.MULTILINE,
)
INTERVAL = 500
"""Milliseconds between two looks of a server of ours at its GPUs."""
UNTOLD = 2.0
"""Seconds between two looks of one that was told nothing: Triton's default."""
PROMPT = 5.0


def gpu_memory(text: str) -> Mapping[str, int]:
    """Bytes in use by GPU; empty where there is none. What others have on it counts as well."""
    return _memory(text, "used")


def gpus(text: str) -> tuple[Gpu, ...]:
    """The GPUs whose memory they tell of."""
    used, total = _memory(text, "used"), _memory(text, "total")
    return tuple(
        Gpu(gpu, total=size, free=size - used[gpu]) for gpu, size in total.items() if gpu in used
    )


def gpus_now(address: str) -> tuple[Gpu, ...]:
    """The GPUs of a server, as it last saw them; none where it has none, or does not tell."""
    return gpus(_told(address) or "")


def gpu_memory_now(address: str, interval: float) -> int | None:
    """Bytes in use on all GPUs of a server; None where it has none, or does not tell.

    Args:
        address: where it serves metrics.
        interval: seconds between two of its own looks: so long it takes to be up to date.
    """
    if _in_use(address) is None:
        return None
    time.sleep(1.2 * interval)
    return _in_use(address)


def _in_use(address: str) -> int | None:
    used = gpu_memory(_told(address) or "")
    return sum(used.values()) if used else None


def _memory(text: str, kind: str) -> dict[str, int]:
    found = (one for one in MEMORY.finditer(text) if one["kind"] == kind)
    return {one["gpu"]: int(float(one["bytes"])) for one in found}


def _told(address: str) -> str | None:
    try:
        told, _ = Endpoint(address).call("GET", "/metrics", timeout=PROMPT)
    except (UnreachableError, RefusedError):
        return None
    return told.decode(errors="replace")
