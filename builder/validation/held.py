"""What a server holds, in its own memory and on its GPUs, and what a load has added to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from builder.servers.server import Server


SETTLING = 2.0
"""Seconds after which nobody waits any more for what may still be given back."""
TICK, STEADY = 0.1, 2
"""Seconds between two looks, and how many must find nothing given back."""


@dataclass(frozen=True)
class Held:
    """Bytes at one moment.

    Attributes:
        host: of all its processes; None where nobody can tell.
        gpu: in use on all of its GPUs, by whomever; None where it has none, or nobody can tell.
    """

    host: int | None
    gpu: int | None = None

    @classmethod
    def by(cls, server: Server) -> Self:
        """What a server holds now."""
        return cls(server.memory() or None, server.gpu_memory())

    @classmethod
    def settled(cls, server: Server) -> Self:
        """What a server holds once it gives nothing back any more: processes may still be ending.

        What they still held before a load would hide what the load has left.
        """
        end = time.monotonic() + SETTLING
        held, steady = cls.by(server), 0
        while steady < STEADY and time.monotonic() < end:
            time.sleep(TICK)
            now = cls.by(server)
            grown = now.since(held)
            steady = 0 if min(grown.host or 0, grown.gpu or 0) < 0 else steady + 1
            held = now
        return held

    def since(self, before: Held) -> Held:
        """What has been added; less than nothing where some was given back."""
        return Held(_more(before.host, self.host), _more(before.gpu, self.gpu))

    @property
    def known(self) -> bool:
        """Whether anything can be told."""
        return self.host is not None or self.gpu is not None

    def figures(self) -> dict[str, float]:
        """In MB: `host_mb`, `gpu_mb`, as far as they are known."""
        named = {"host_mb": self.host, "gpu_mb": self.gpu}
        return {name: megabytes(size) for name, size in named.items() if size is not None}

    def of_server(self) -> dict[str, float]:
        """Of a server without models, in MB: `server_mb`, where it is known."""
        return {} if self.host is None else {"server_mb": megabytes(self.host)}


def megabytes(size: int) -> float:
    """Bytes in MB, to a tenth."""
    return round(size / 1e6, 1)


def _more(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
