"""How a server of ours is started: what is the same wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.servers.ports import Ports


@dataclass(frozen=True)
class Launch:
    """How a server is started, and ended.

    Attributes:
        explicit: load on request; else load everything before being live, and fail where
            something does not load.
        preload: where explicit: load everything first, as in a pod.
        verbose: Triton's `--log-verbose`.
        ports: on 127.0.0.1, for HTTP, gRPC and metrics; free ones where None.
        ready_timeout: seconds until it must be live, loading included.
        drain: seconds between asking it to end and ending it. Nothing of it is kept, so
            there is nothing to wait for (unloading takes seconds), unless others use it.
        while_starting: called again and again until it is live; its addresses stand then.
    """

    explicit: bool = True
    preload: bool = False
    verbose: int = 0
    ports: Ports | None = None
    ready_timeout: float = 300
    drain: float = 0
    while_starting: Callable[[], None] = lambda: None
