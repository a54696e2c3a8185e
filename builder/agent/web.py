"""What an agent answers over HTTP: /healthz, /readyz, /metrics."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING

from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Page = Callable[[], tuple[bool, str]]

PLAIN = "text/plain; charset=utf-8"
FAMILY = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
"""Where there is IPv6, of both kinds: a cluster may have nothing else."""
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@contextmanager
def serving(port: int, checks: Mapping[str, Page], metrics: Callable[[], str]) -> Iterator[int]:
    """Answers on a port of all interfaces while the block lasts; gives the port.

    Args:
        port: which; 0 for a free one.
        checks: by path, whether all is well, and a line that says so.
        metrics: the text of /metrics.

    Raises:
        InputError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, metrics(), METRICS)
            elif self.path in checks:
                well, line = checks[self.path]()
                status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, line + "\n", PLAIN)
            else:
                said = f"there are {', '.join([*checks, '/metrics'])}\n"
                self._answer(HTTPStatus.NOT_FOUND, said, PLAIN)

        def _answer(self, status: HTTPStatus, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing: probes come every few seconds."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = FAMILY

        def server_bind(self) -> None:
            """Without http.server's question for our own name: no DNS, and it takes long."""
            if FAMILY == socket.AF_INET6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            TCPServer.server_bind(self)

        def handle_error(self, *_: object) -> None:
            """A client that went away is no news."""

    try:
        server = Server(("", port), Handler)
    except (OSError, OverflowError) as e:
        raise InputError(
            "the port cannot be used",
            where=f"--port {port}",
            found=e,
            fix="choose another, or 0 for none",
        ) from e
    thread = threading.Thread(target=server.serve_forever, name="web", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
