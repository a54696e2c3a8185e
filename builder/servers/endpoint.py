"""A Triton's HTTP port, asked with the standard library alone: what a pod has, and curl does.

One connection a request: a server that was started anew meanwhile is no surprise.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.triton import wire
from builder.triton.closeness import disagreement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.triton.probe import Probe
    from builder.triton.wire import Answer

PATIENCE = 60.0
"""Seconds for an answer, where the caller does not say."""


CONTROL = "triton-builder-control"
"""The header that a server may ask for of whoever loads and unloads: Triton's restricted APIs."""

CONTROL_KEY = "TRITON_BUILDER_CONTROL_KEY"
"""The variable that such a header's value is in."""


class UnreachableError(Exception):
    """Nobody answers there, or the connection broke before all of the answer had come."""


class RefusedError(Exception):
    """The server answered with an error: a status (400) and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message

    @property
    def busy(self) -> bool:
        """Whether the request waited too long in a queue, or found it full: ask again."""
        said = self.message.lower()
        return "timeout expired" in said or "exceeds maximum queue size" in said


@dataclass(frozen=True)
class Access:
    """What a server asks of whoever connects to it.

    Attributes:
        tls: whether its ports speak TLS; the certificates that count are the system's, or those
            of $SSL_CERT_FILE.
        token: sent with every request, as `Authorization: Bearer`.
        control: sent with every request, as `CONTROL`.
    """

    tls: bool = False
    token: str | None = field(default=None, repr=False)
    control: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request has."""
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return token | ({CONTROL: self.control} if self.control else {})


@dataclass(frozen=True)
class Endpoint:
    """One server.

    Attributes:
        address: `host:port`.
        access: what it asks of whoever connects.
    """

    address: str
    access: Access = field(default_factory=Access)

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = PATIENCE,
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """One request; gives the answer's body and headers.

        Raises:
            UnreachableError: no answer in `timeout` seconds.
            RefusedError: the server answered with an error.
        """
        connection = self._connection(timeout)
        try:
            connection.request(method, path, body, {**(headers or {}), **self.access.headers})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as e:
            raise UnreachableError(f"{self.address}: {str(e) or type(e).__name__}") from e
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise RefusedError(response.status, _message(content) or response.reason)
        return content, response.headers

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if not self.access.tls:
            return http.client.HTTPConnection(self.address, timeout=timeout)
        import ssl

        context = ssl.create_default_context()  # which minds $SSL_CERT_FILE
        return http.client.HTTPSConnection(self.address, timeout=timeout, context=context)

    def infer(self, probe: Probe, timeout: float = PATIENCE) -> Answer:
        """Posts a probe's very bytes.

        Raises:
            UnreachableError: as `call`.
            RefusedError: likewise.
            ValueError: the answer is none.
        """
        said = {wire.HEADER: str(probe.header), "Content-Type": "application/octet-stream"}
        body, headers = self.call("POST", probe.path, probe.body, headers=said, timeout=timeout)
        length = headers.get(wire.HEADER)
        return wire.answer(body, None if length is None else int(length))

    def differs(self, probe: Probe, timeout: float = PATIENCE) -> str | None:
        """Asks a probe; what is wrong with the answer, None if nothing is.

        Raises:
            UnreachableError: as `call`.
            RefusedError: likewise.
        """
        try:
            return disagreement(probe, self.infer(probe, timeout))
        except ValueError as e:
            return f"no answer that can be read: {e}"


def _message(content: bytes) -> str:
    """What an error's body says: Triton's is `{"error": …}`."""
    try:
        said: Any = json.loads(content)
        return str(said["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace").strip()
