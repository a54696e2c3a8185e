"""A Triton that we start ourselves: what it has, whether it runs as a process or in a container."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

from builder.servers import log as logs
from builder.servers import metrics, options
from builder.servers import ports as port_numbers
from builder.servers.endpoint import Access
from builder.servers.server import Control

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from builder.errors import WorkFailedError
    from builder.servers.gpus import Gpu
    from builder.servers.guard import Guard
    from builder.servers.launch import Launch
    from builder.servers.output import Output
    from builder.servers.ports import Ports

TICK = 0.05


class StartedServer(ABC):
    """A server for as long as the `with` block lasts; nothing of it is left afterwards.

    That holds as well where this process is interrupted or killed: a `Guard` sees to it.

    Attributes:
        kind: where it runs, for people.
        name: as `Server` has it.
        release: likewise.
        guard: what clears up; None before the start.

    Args:
        repositories: Triton model repositories.
        launch: how it is started.
        version: tritonserver's own, `2.51.0`.
        release: the Triton release that it is of.
    """

    access = Access()
    control = Control()
    kind: ClassVar[str]

    def __init__(
        self, repositories: Sequence[Path], launch: Launch, version: str | None, release: str
    ) -> None:
        self.repositories = tuple(repositories)
        self.launch = launch
        self.release = release
        self.name = f"tritonserver {version} ({release}), {self.kind}"
        self.guard: Guard | None = None
        self._host = port_numbers.HOST
        self._ports: Ports = launch.ports or (0, 0, 0)
        self._output: Output | None = None

    @property
    def http(self) -> str:
        """See `Server`."""
        return f"{self._host}:{self._ports[0]}"

    @property
    def grpc(self) -> str:
        """See `Server`."""
        return f"{self._host}:{self._ports[1]}"

    @property
    def metrics(self) -> str:
        """See `Server`."""
        return f"{self._host}:{self._ports[2]}"

    @abstractmethod
    def alive(self) -> bool:
        """See `Server`."""

    @abstractmethod
    def ended(self) -> str:
        """See `Server`."""

    @abstractmethod
    def memory(self) -> int:
        """See `Server`."""

    def gpu_memory(self) -> int | None:
        """See `Server`."""
        return metrics.gpu_memory_now(self.metrics, metrics.INTERVAL / 1000)

    def gpus(self) -> Sequence[Gpu]:
        """See `Server`."""
        return metrics.gpus_now(self.metrics)

    def shortage(self) -> str | None:
        """See `Server`."""
        return None

    def log(self) -> str:
        """See `Server`; stays readable when the server is gone."""
        return self._output.text() if self._output else ""

    def __enter__(self) -> Self:
        options.check(self.repositories)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @abstractmethod
    def _start(self) -> None:
        """Starts it, and waits until it is live."""

    @abstractmethod
    def _live(self) -> bool:
        """Whether it answers."""

    @abstractmethod
    def _check_runs(self) -> None:
        """Raises WorkFailedError where it will not become live any more."""

    @abstractmethod
    def _stop(self) -> None:
        """Ends it, in whatever state it is; closes what is open."""

    def _wait_until_live(self) -> None:
        deadline = time.monotonic() + self.launch.ready_timeout
        while not self._live():
            self._check_runs()
            if time.monotonic() > deadline:
                raise self._failed(
                    f"tritonserver is not live after {self.launch.ready_timeout:g} s"
                )
            self.launch.while_starting()
            time.sleep(TICK)

    def _failed(self, problem: str) -> WorkFailedError:
        where = ", ".join(str(repository) for repository in self.repositories)
        return logs.failure(problem, where, self.log())
