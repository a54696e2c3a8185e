"""What every live Triton server offers, wherever it runs: a port with several real ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import psutil

    from builder.servers.endpoint import Access
    from builder.servers.gpus import Gpu


@dataclass(frozen=True)
class Upload:
    """A model that is sent with the request to load it.

    Attributes:
        config: its config.pbtxt.
        files: all others, by path in its folder.
    """

    config: str
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Control:
    """What a server lets others do with its models.

    Attributes:
        loads: whether it loads and unloads on request.
        served: the models that it served before we came: they are left as they are.
        upload: what to send with a model's load; None where the server has the model's folder.
    """

    loads: bool = True
    served: frozenset[str] = frozenset()
    upload: Callable[[str], Upload | None] = lambda _: None


class Server(Protocol):
    """A Triton server that answers. Its addresses are `host:port`, without a scheme.

    Attributes:
        access: how to connect to it.
        control: what may be done with its models.
    """

    access: Access
    control: Control

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

    def gpu_memory(self) -> int | None:
        """Bytes in use on its GPUs, by whomever; None where it has none, or nobody can tell."""
        ...

    def gpus(self) -> Sequence[Gpu]:
        """Its GPUs as they are now, as far as they can be seen; none where it has none."""
        ...

    def shortage(self) -> str | None:
        """What it has run short of since this was last asked; None where nobody knows of any."""
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
