"""How a Triton that somebody else runs is reached: its addresses, as people and variables say.

What is done there is for `remote`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMES = {"http": False, "https": True, "grpc": False, "grpcs": True}
"""Of addresses, and whether they speak TLS."""


@dataclass(frozen=True)
class Reach:
    """How a server is reached.

    Attributes:
        urls: where it is: `http://host:8000` and `grpc://host:8001` (`https`, `grpcs` for TLS). Of
            one alone the other is the neighbouring port, as Triton's own are.
        token: said with every request.
        shared: a folder that it loads models from, as this machine sees it: models are put there.
    """

    urls: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    shared: Path | None = None

    @classmethod
    def told(cls, *urls: Sequence[str]) -> Self:
        """By the first addresses that there are: those given, $TRITON_BUILDER_SERVER_URL's.

        It may hold both, with a space between them. $TRITON_BUILDER_SERVER_TOKEN and
        $TRITON_BUILDER_SERVER_REPOSITORY are the other two.
        """
        given, *others = urls
        named = os.environ.get("TRITON_BUILDER_SERVER_URL", "").split()
        shared = os.environ.get("TRITON_BUILDER_SERVER_REPOSITORY")
        return cls(
            tuple(next(filter(None, (given, named, *others)), ())),
            os.environ.get("TRITON_BUILDER_SERVER_TOKEN") or None,
            Path(shared) if shared else None,
        )


def addresses(urls: Sequence[str]) -> tuple[str, str, bool]:
    """The HTTP and the gRPC address (`host:port`), and whether they speak TLS.

    Raises:
        InputError: they are not one address of each kind at most, or differ in TLS.
    """
    found: dict[str, tuple[str, int]] = {}
    secure = set()
    for url in urls:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = None
        if parts.scheme not in SCHEMES or not parts.hostname or port is None or _more(parts.path):
            raise _no_address(url)
        kind = parts.scheme.removesuffix("s")
        if kind in found:
            raise InputError(f"two addresses for {kind}", found=", ".join(urls), expected="one")
        found[kind] = (parts.hostname, port)
        secure.add(SCHEMES[parts.scheme])
    if not found:
        raise InputError(
            "no address of the server",
            expected="TRITON_BUILDER_SERVER_URL, or `url` of the target",
            fix="TRITON_BUILDER_SERVER_URL=http://HOST:8000",
        )
    if len(secure) > 1:
        raise InputError("one port with TLS and one without", found=", ".join(urls))
    host, port = found.get("http") or (found["grpc"][0], found["grpc"][1] - 1)
    grpc_host, grpc_port = found.get("grpc") or (host, port + 1)
    return _joined(host, port), _joined(grpc_host, grpc_port), secure.pop()


def _more(path: str) -> bool:
    return path not in {"", "/"}


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _no_address(url: str) -> InputError:
    return InputError(
        "this is no address of a Triton server",
        where="--url",
        found=url,
        expected="http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT or grpcs://HOST:PORT",
    )
