"""A certificate for this machine, and what a server needs to show it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """What a server and those who ask it need.

    Attributes:
        authority: the file of who vouches for the server.
        chain: the file of the server's own certificate.
        key: the file of its key.
    """

    authority: Path
    chain: Path
    key: Path

    def context(self, *protocols: str) -> ssl.SSLContext:
        """A server's context, for these protocols of HTTP; both if none are named."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        context.set_alpn_protocols(list(protocols) or ["h2", "http/1.1"])
        return context


def issued(folder: Path, *names: str) -> Certificates:
    """Certificates in a new authority's name, for `localhost` if no names are given."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    leaf = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    made = Certificates(folder / "authority.pem", folder / "chain.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(made.authority)
    leaf.private_key_pem.write_to_path(made.key)
    for number, pem in enumerate(leaf.cert_chain_pems):
        pem.write_to_path(made.chain, append=number > 0)
    return made
