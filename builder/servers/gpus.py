"""The GPUs that a server has, and how NVIDIA's `nvidia-smi` tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ASK = (
    "nvidia-smi --query-gpu=uuid,compute_cap,memory.total,memory.free --format=csv,noheader,nounits"
)
"""What a shell is told, for `read`."""
MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One device; None for what nobody tells.

    Attributes:
        uuid: `GPU-…`, or `MIG-…` for a part of one.
        capability: its compute capability, `9.0`.
        total: bytes of its memory.
        free: those that nobody has.
    """

    uuid: str
    capability: str | None = None
    total: int | None = None
    free: int | None = None


def read(told: str) -> tuple[Gpu, ...]:
    """The GPUs in what `ASK` printed; none in anything else."""
    found = []
    for line in told.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 4 and parts[0].startswith(("GPU-", "MIG-")):  # noqa: PLR2004 - as asked
            uuid, capability, total, free = parts
            known = capability.replace(".", "", 1).isdigit()
            found.append(Gpu(uuid, capability if known else None, _bytes(total), _bytes(free)))
    return tuple(found)


def named(gpus: Sequence[Gpu]) -> str:
    """Of which compute capabilities they are: `GPU 9.0`; nothing where nobody tells."""
    capabilities = sorted({gpu.capability for gpu in gpus if gpu.capability})
    return f"GPU {', '.join(capabilities)}" if capabilities else ""


def _bytes(mebibytes: str) -> int | None:
    """None for `[N/A]`, as where a GPU shares the machine's memory."""
    return int(mebibytes) * MIB if mebibytes.isdigit() else None
