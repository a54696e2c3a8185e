"""Elliptic-curve keys from PEM files: one to sign with, one to verify with.

The curves are P-256, P-384 and P-521, each with the SHA-2 of its size, as model signing has
them. `cryptography` does the work, and is imported where it is needed.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, MissingError, WorkFailedError

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

PASSWORD = "TRITON_BUILDER_KEY_PASSWORD"  # noqa: S105 - the variable's name
"""The environment variable that opens an encrypted private key."""

MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out release.key"
PUBLISH = "openssl ec -in release.key -pubout -out release.pub"
CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}

LARGEST = 1 << 16
"""Bytes of a key file at most; what is larger is no key."""


class SigningKey:
    """A private key.

    Args:
        path: a PEM file, encrypted or not.

    Raises:
        InputError: it is no private key of a curve that is supported.
        MissingError: it is encrypted, and no password is there.
    """

    def __init__(self, path: Path) -> None:
        self._key = _private(path)
        self._hash = _hash(self._key, path)
        self.hint = _hint(self._key.public_key())

    def sign(self, content: bytes) -> bytes:
        """A signature, the same each time where OpenSSL can do that (RFC 6979)."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            return self._key.sign(content, ec.ECDSA(self._hash, deterministic_signing=True))
        except UnsupportedAlgorithm:  # OpenSSL before 3.2
            return self._key.sign(content, ec.ECDSA(self._hash))


class VerifyingKey:
    """A public key.

    Args:
        path: a PEM file with a public key, or with a certificate, of which only the key is
            looked at: whoever names the file trusts it.

    Raises:
        InputError: it is neither.
    """

    def __init__(self, path: Path) -> None:
        self._key = _public(path)
        self._hash = _hash(self._key, path)
        self.hint = _hint(self._key)

    def verify(self, signature: bytes, content: bytes, where: str) -> None:
        """Checks a signature.

        Raises:
            WorkFailedError: it does not hold.
        """
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec

        try:
            self._key.verify(signature, content, ec.ECDSA(self._hash))
        except InvalidSignature as e:
            raise WorkFailedError(
                "the signature does not hold: it was not made with this key over these bytes",
                where=where,
                found=f"{len(signature)} bytes of signature over {len(content)}",
                expected=f"a signature by the key with sha256 {self.hint[:16]}…",
                fix="use nothing of this release; fetch the signature again from its publisher",
            ) from e


def _private(path: Path) -> ec.EllipticCurvePrivateKey:
    _needed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _read(path)
    try:
        key: ec.EllipticCurvePrivateKey = _elliptic(load_pem_private_key(content, None), path)
    except TypeError:  # it is encrypted
        password = os.environ.get(PASSWORD, "")
    except (ValueError, UnsupportedAlgorithm) as e:
        raise _unusable(path, content, "a private key in PEM", MAKE) from e
    else:
        return key
    if not password:
        raise MissingError(
            "the private key is encrypted",
            where=str(path),
            expected=f"its password in the environment variable {PASSWORD}",
            fix=f"set {PASSWORD}",
        )
    try:
        key = _elliptic(load_pem_private_key(content, password.encode()), path)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise InputError(
            "the password does not open the private key",
            where=str(path),
            fix=f"set {PASSWORD} to the key's password",
        ) from e
    return key


def _public(path: Path) -> ec.EllipticCurvePublicKey:
    _needed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    content = _read(path)
    try:
        certified = b"-----BEGIN CERTIFICATE-----" in content
        found = (
            load_pem_x509_certificate(content).public_key()
            if certified
            else load_pem_public_key(content)
        )
    except (ValueError, UnsupportedAlgorithm) as e:
        raise _unusable(path, content, "a public key or a certificate in PEM", PUBLISH) from e
    key: ec.EllipticCurvePublicKey = _elliptic(found, path)
    return key


def _elliptic(key: Any, path: Path) -> Any:
    """The key, if its curve is one of ours."""
    curve = getattr(key, "curve", None)
    if curve is None or curve.name not in CURVES:
        raise InputError(
            "a key of a kind that is not supported",
            where=str(path),
            found=curve.name if curve else type(key).__name__.lstrip("_"),
            expected=f"an elliptic-curve key: {', '.join(CURVES)}",
            fix=MAKE,
        )
    return key


def _hash(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey, path: Path) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    algorithm: HashAlgorithm = getattr(hashes, CURVES[_elliptic(key, path).curve.name])()
    return algorithm


def _hint(key: ec.EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except OSError as e:
        raise InputError(
            "the key cannot be read", where=str(path), found=e.strerror, fix="name a PEM file"
        ) from e


def _unusable(path: Path, content: bytes, expected: str, fix: str) -> InputError:
    """What a file is instead of a key; never what is in it."""
    kinds = {
        b"SIGSTORE PRIVATE KEY": "cosign's own form of a private key",
        b"PRIVATE KEY": "a private key",
        b"PUBLIC KEY": "a public key",
        b"CERTIFICATE": "a certificate",
    }
    start = content.partition(b"-----BEGIN ")[2].partition(b"-----")[0]
    found = next((said for kind, said in kinds.items() if kind in start), "something else")
    return InputError("not the key that is needed", where=str(path), found=found,
                      expected=expected, fix=fix)  # fmt: skip


def _needed() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as e:
        raise MissingError(
            "signatures need the package cryptography",
            fix="pip install 'triton-builder[pull]'",
        ) from e
