"""A way into this machine for containers: what listens on the loopback interface alone, they reach
at the gateway of their network, where nobody else does.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK = "127.0.0.1"
FREEBIND = 15
"""IP_FREEBIND of Linux: the gateway's interface is there only once a container is."""


@contextlib.contextmanager
def relay(gateway: str, port: int) -> Iterator[str]:
    """Passes connections on to a port of the loopback interface; gives the address to use."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_IP, FREEBIND, 1)
        listening.bind((gateway, 0))
        listening.listen(128)
        thread = threading.Thread(target=_accept, args=(listening, port), daemon=True)
        thread.start()
        try:
            yield f"{gateway}:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(listening: socket.socket, port: int) -> None:
    while True:
        try:
            near, _ = listening.accept()
        except OSError:
            return
        try:
            far = socket.create_connection((LOOPBACK, port))
        except OSError:
            near.close()
            continue
        both = _Both(near, far)
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=both.copy, args=(source, target), daemon=True).start()


class _Both:
    """Two ends of a connection, closed when both directions are done."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self._ends = (near, far)
        self._left = 2
        self._lock = threading.Lock()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._left -= 1
            if not self._left:
                for end in self._ends:
                    end.close()
