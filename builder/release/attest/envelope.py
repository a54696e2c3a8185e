"""A signed statement as a Sigstore bundle: a DSSE envelope, and what tells which key made it.

The forms are those of github.com/secure-systems-lab/dsse (protocol 1.0.2) and of Sigstore's
bundle 0.3. Of what a bundle may hold this reads one shape, signed with a key; all others are
refused by name. Nothing here proves anything: that is for `signing`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.release.attest.statement import MEDIA_TYPE as PAYLOAD_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"

CERTIFICATES = ("certificate", "x509CertificateChain")


@dataclass(frozen=True)
class Envelope:
    """A payload and the one signature over it.

    Attributes:
        payload: an in-toto statement's bytes.
        signature: as the key made it (ECDSA: DER).
        hint: sha256 of the public key's PEM, in hex; empty where an old signer left it out.
    """

    payload: bytes
    signature: bytes
    hint: str


def signed_bytes(payload: bytes) -> bytes:
    """What the signature is over: the payload with its type and their lengths (DSSE's PAE)."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def encode(envelope: Envelope) -> bytes:
    """A bundle's one form."""
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": envelope.hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(envelope.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(envelope.signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle).encode() + b"\n"


def decode(bundle: bytes, where: str) -> Envelope:
    """Reads a bundle that was signed with a key.

    Raises:
        WorkFailedError: it is none, or of another shape.
    """
    value = _bundle(bundle, where)
    hint = _hint(_member(value, "verificationMaterial", dict, where), where)
    envelope = _envelope(value, where)
    signatures = _member(envelope, "signatures", list, where)
    if len(signatures) != 1:
        raise _shape(f"{len(signatures)} signatures", "exactly one", where)
    return Envelope(_base64(envelope, "payload", where), _base64(signatures[0], "sig", where), hint)


def payload(bundle: bytes, where: str) -> bytes:
    """What a bundle is over, whoever signed it and however.

    Raises:
        WorkFailedError: it is none, or over no statement.
    """
    return _base64(_envelope(_bundle(bundle, where), where), "payload", where)


def _bundle(content: bytes, where: str) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise WorkFailedError(
            "the signature is no Sigstore bundle",
            where=where,
            found=f"{len(content)} bytes that are not JSON",
            expected=MEDIA_TYPE,
            fix="publish the release again, signed; or fetch the signature again",
        ) from e
    media = _member(value, "mediaType", str, where)
    if media != MEDIA_TYPE:
        raise WorkFailedError(
            "the signature is a bundle of another version",
            where=where,
            found=media,
            expected=MEDIA_TYPE,
        )
    return value


def _envelope(value: dict[str, Any], where: str) -> dict[str, Any]:
    if "dsseEnvelope" not in value:
        raise _shape("a bundle without a signed statement", "dsseEnvelope", where)
    envelope: dict[str, Any] = _member(value, "dsseEnvelope", dict, where)
    kind = _member(envelope, "payloadType", str, where)
    if kind != PAYLOAD_TYPE:
        raise _shape(f"a payload of type {kind}", PAYLOAD_TYPE, where)
    return envelope


def _hint(material: Mapping[str, Any], where: str) -> str:
    certified = [name for name in CERTIFICATES if name in material]
    if certified:
        raise WorkFailedError(
            "the release is signed with a certificate, not with a key",
            where=where,
            found=f"{certified[0]} in the bundle",
            expected="publicKey",
            fix="verify it by the signer's identity, or have it signed with the key",
        )
    hint = _member(material, "publicKey", dict, where).get("hint") or ""
    return str(hint)


def _base64(value: Any, name: str, where: str) -> bytes:
    text = _member(value, name, str, where)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as e:
        raise _shape(f"a {name} that is not base64", "base64", where) from e


def _member(value: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(value, dict) or not isinstance(value.get(name), kind):
        raise _shape(f"a bundle without {name}", f"{name} ({kind.__name__})", where)
    return value[name]


def _shape(found: str, expected: str, where: str) -> WorkFailedError:
    return WorkFailedError(
        "the signature is of another shape", where=where, found=found, expected=expected
    )
