"""A token server as registries send their clients to: docker's token authentication, with JWTs.

The registry that believes it gets its certificate; `settings` are the registry's.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
ISSUER, SERVICE = "token-server", "registry"


class Tokens:
    """The server.

    Attributes:
        basic: what a client must send; all are let in while it is empty.
        refresh: a refresh token that is worth as much.
        grants: actions of the first tokens, one after the other; then `pull,push`.
        age: seconds that tokens are old when they are given.
        asked: the queries and forms that came.
    """

    def __init__(self, folder: Path) -> None:
        self.basic = ""
        self.refresh = ""
        self.grants: list[str] = []
        self.age = 0
        self.asked: list[dict[str, list[str]]] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key)
        bundle = folder / "tokens.pem"
        bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.settings = {
            "auth": {
                "token": {
                    "realm": f"http://{HOST}:{self._server.server_address[1]}/token",
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(bundle),
                }
            }
        }

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, authorization: str, query: dict[str, list[str]]) -> tuple[int, object]:
        self.asked.append(query)
        by_token = self.refresh and query.get("refresh_token") == [self.refresh]
        if not by_token and authorization != self.basic:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
        kind, name, asked = query["scope"][0].split(":")
        actions = self.grants.pop(0) if self.grants else asked
        access = [{"type": kind, "name": name, "actions": actions.split(",")}]
        return 200, {"token": self._token(access)}

    def _token(self, access: object) -> str:
        now = int(time.time()) - self.age
        claims = {
            "iss": ISSUER, "sub": "", "aud": SERVICE, "jti": str(uuid.uuid4()), "access": access,
            "iat": now, "nbf": now, "exp": now + 60,
        }  # fmt: skip
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        headers = {"x5c": [base64.b64encode(der).decode()]}
        return jwt.encode(claims, self._key, algorithm="ES256", headers=headers)


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


def _handler(tokens: Tokens) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._give(parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._give(parse_qs(body.decode()))

        def _give(self, query: dict[str, list[str]]) -> None:
            status, value = tokens.answer(self.headers.get("Authorization", ""), query)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    return Handler


@contextlib.contextmanager
def issuing(folder: Path) -> Iterator[Tokens]:
    """A token server that runs until the end of the block."""
    server = Tokens(folder)
    try:
        yield server
    finally:
        server.close()
