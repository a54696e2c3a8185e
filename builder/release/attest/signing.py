"""Signatures by a key: over a release, and over statements about it.

A release's signature is OpenSSF model signing's, in a Sigstore bundle: `model_signing verify key`
accepts it on the pulled folder, and what `model_signing sign key` made is accepted here. Signing
by identity, without a key of one's own, is `keyless`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.release.attest import envelope as envelopes
from builder.release.attest.keys import SigningKey, VerifyingKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def signer(key: Path) -> Callable[[bytes], bytes]:
    """What makes a Sigstore bundle over an in-toto statement.

    Args:
        key: a private key in PEM; its password, if it has one, is in $TRITON_BUILDER_KEY_PASSWORD.

    Raises:
        InputError: that is no key that can sign.
        MissingError: the key's password or the package `cryptography` is missing.
    """
    own = SigningKey(key)

    def sign(statement: bytes) -> bytes:
        signature = own.sign(envelopes.signed_bytes(statement))
        return envelopes.encode(envelopes.Envelope(statement, signature, own.hint))

    return sign


def opened(bundle: bytes, key: Path, where: str) -> bytes:
    """The statement that a bundle is over, its signature checked.

    Args:
        bundle: as `signer` or `model_signing sign key` made it.
        key: a public key or a certificate in PEM.
        where: for messages.

    Raises:
        WorkFailedError: the key did not sign it, or it is no bundle; says what was found.
        InputError: that is no key that can verify.
        MissingError: the package `cryptography` is missing.
    """
    own = VerifyingKey(key)
    envelope = envelopes.decode(bundle, where)
    if envelope.hint and envelope.hint != own.hint:
        raise WorkFailedError(
            "it is signed with another key",
            where=where,
            found=f"the key with sha256 {envelope.hint}",
            expected=f"the key with sha256 {own.hint}",
            fix="verify with the publisher's key, or do not use what others signed",
        )
    own.verify(envelope.signature, envelopes.signed_bytes(envelope.payload), where)
    return envelope.payload
