"""What every live Triton server offers, wherever it runs: a port with several real ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    import psutil


class Server(Protocol):
    """A Triton server that answers. Its addresses are `host:port`, without a scheme."""

    @property
    def name(self) -> str:
        """For people: `tritonserver 2.51.0 (24.10), embedded`."""
        ...

    @property
    def release(self) -> str:
        """The Triton release: `24.10`."""
        ...

    @property
    def http(self) -> str:
        """Where HTTP/REST is served."""
        ...

    @property
    def grpc(self) -> str:
        """Where gRPC is served."""
        ...

    @property
    def metrics(self) -> str:
        """Where Prometheus metrics are served."""
        ...

    def alive(self) -> bool:
        """Whether the server's process runs."""
        ...

    def ended(self) -> str:
        """How its process ended: `SIGSEGV`, `exit code 1`; `unknown` where nobody can tell."""
        ...

    def log(self) -> str:
        """Everything it has printed so far."""
        ...

    def memory(self) -> int:
        """Bytes resident in all of its processes, shared pages counted once."""
        ...


def resident(processes: Iterable[psutil.Process]) -> int:
    """Bytes resident in these processes; pages that n of them share count 1/n each."""
    import psutil

    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # gone meanwhile
            continue
    return total
