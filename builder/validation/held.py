"""What a server holds, in its own memory and on its GPUs, and what a load has added to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from builder.servers.server import Server


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
