"""Signatures by a key: over a release, and over statements about it.

A release's signature is OpenSSF model signing's, in a Sigstore bundle: `model_signing verify key`
accepts it on the pulled folder, and what `model_signing sign key` made is accepted here. Signing
by identity, without a key of one's own, is `keyless`'s.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.release.attest import envelope as envelopes
from builder.release.attest import payload as payloads
from builder.release.attest.keys import SigningKey, VerifyingKey
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from pathlib import Path

    from builder.repository.manifest import Manifest


def sign(manifest: Manifest, digest: str, key: Path) -> bytes:
    """A Sigstore bundle over every file of a release.

    Args:
        manifest: what the release holds.
        digest: its name, `sha256:…`: that of its manifest's bytes.
        key: a private key in PEM; its password, if it has one, is in $TRITON_BUILDER_KEY_PASSWORD.

    Raises:
        InputError: that is no key that can sign.
        MissingError: the key's password or the package `cryptography` is missing.
    """
    files = payloads.resources(manifest, digest)
    return sign_statement(payloads.encode(manifest.target, files), key)


def verify(bundle: bytes, manifest_bytes: bytes, key: Path) -> None:
    """Checks that a key signed exactly the files that a manifest names, and the manifest itself.

    Args:
        bundle: the signature, as `sign` or `model_signing sign key` made it.
        manifest_bytes: the manifest as it was found.
        key: a public key or a certificate in PEM.

    Raises:
        WorkFailedError: it did not, or the bundle is not one; says what was found.
        InputError: that is no key that can verify.
        MissingError: the package `cryptography` is missing.
    """
    digest = "sha256:" + hashlib.sha256(manifest_bytes).hexdigest()
    where = f"signature of {digest[:19]}"
    signed = payloads.decode(_opened(bundle, VerifyingKey(key), where), where)
    payloads.same_release(signed, digest, where)
    manifest = manifests.decode(manifest_bytes, where)
    payloads.compare(signed, payloads.resources(manifest, digest), where)


def sign_statement(statement: bytes, key: Path) -> bytes:
    """A Sigstore bundle over an in-toto statement: a release's provenance, its verdicts.

    Raises:
        InputError, MissingError: as `sign`.
    """
    own = SigningKey(key)
    signature = own.sign(envelopes.signed_bytes(statement))
    return envelopes.encode(envelopes.Envelope(statement, signature, own.hint))


def verify_statement(bundle: bytes, statement: bytes, key: Path, where: str) -> None:
    """Checks that a key signed exactly this statement.

    Raises:
        WorkFailedError, InputError, MissingError: as `verify`.
    """
    content = _opened(bundle, VerifyingKey(key), where)
    if content != statement:
        raise WorkFailedError(
            "the signature is over another statement",
            where=where,
            found=f"sha256:{hashlib.sha256(content).hexdigest()}",
            expected=f"sha256:{hashlib.sha256(statement).hexdigest()}",
        )


def _opened(bundle: bytes, key: VerifyingKey, where: str) -> bytes:
    """The payload of a bundle, its signature checked."""
    envelope = envelopes.decode(bundle, where)
    if envelope.hint and envelope.hint != key.hint:
        raise WorkFailedError(
            "it is signed with another key",
            where=where,
            found=f"the key with sha256 {envelope.hint}",
            expected=f"the key with sha256 {key.hint}",
            fix="verify with the publisher's key, or do not use what others signed",
        )
    key.verify(envelope.signature, envelopes.signed_bytes(envelope.payload), where)
    return envelope.payload
