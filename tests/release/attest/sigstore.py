"""A Sigstore of our own on the loopback interface: issuer, Fulcio, certificate log and Rekor.

It is as small as sigstore's client lets it be: an authority that certifies whom a token names, a
log of one entry each, and the trust configuration that makes a client believe in them. All that
a client checks is real: chains, timestamps, inclusion proofs, signatures.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import json
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
IDENTITY = "https://ci.example/acme/models/.github/workflows/release.yml@refs/heads/main"
ORIGIN = "rekor.test"
SCTS = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
ISSUER_V1 = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
DAY = dt.timedelta(days=1)


class Sigstore:
    """The services.

    Attributes:
        issuer: whose tokens Fulcio believes; its address.
        trust: the client's trust configuration, in a file.
        entries: what Rekor was given.
    """

    def __init__(self, folder: Path) -> None:
        self._authority, self._log, self._rekor = (
            ec.generate_private_key(ec.SECP256R1()) for _ in range(3)
        )
        self._root = self._certify_root()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.issuer = f"http://{HOST}:{self._server.server_address[1]}"
        self.entries: list[Any] = []
        self.trust = folder / "trust.json"
        self.trust.write_text(json.dumps(self._configuration()))

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def token(self, identity: str = IDENTITY, age: int = 0) -> str:
        """What the issuer gives to somebody who is that."""
        now = int(time.time()) - age
        claims = {"iss": self.issuer, "sub": identity, "aud": "sigstore", "iat": now,
                  "nbf": now, "exp": now + 600}  # fmt: skip
        return jwt.encode(claims, "x" * 32, algorithm="HS256")

    def certificate(self, body: Any, token: str) -> Any:
        """Fulcio's answer to a request for a certificate."""
        request = x509.load_pem_x509_csr(base64.b64decode(body["certificateSigningRequest"]))
        claims = jwt.decode(token, options={"verify_signature": False})
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        key = self._authority.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._root.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=1))
            .not_valid_after(now + dt.timedelta(minutes=10))
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(claims["sub"])]),
                critical=True,
            )
            .add_extension(_usage(signs=True, certifies=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(ISSUER_V1, claims["iss"].encode()), critical=False
            )
        )
        logged = builder.sign(self._authority, hashes.SHA256()).tbs_certificate_bytes
        stamps = x509.UnrecognizedExtension(SCTS, self._stamps(logged, now))
        leaf = builder.add_extension(stamps, critical=False).sign(self._authority, hashes.SHA256())
        pems = [c.public_bytes(serialization.Encoding.PEM).decode() for c in (leaf, self._root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": pems}}}

    def entry(self, proposed: Any) -> Any:
        """Rekor's answer to an entry: a log of this one alone."""
        content = proposed["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = base64.b64decode(envelope["payload"])
        body = rfc8785.dumps({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": _hash(content["envelope"].encode()),
                "payloadHash": _hash(payload),
                "signatures": [
                    {"signature": s["sig"], "verifier": content["verifiers"][0]}
                    for s in envelope["signatures"]
                ],
            },
        })  # fmt: skip
        self.entries.append(json.loads(body))
        log = _key_id(self._rekor)
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"{ORIGIN}\n1\n{base64.b64encode(root).decode()}\n"
        signed = base64.b64encode(log[:4] + _sign(self._rekor, note.encode())).decode()
        promised = {
            "body": base64.b64encode(body).decode(),
            "integratedTime": int(time.time()),
            "logID": log.hex(),
            "logIndex": 0,
        }
        promise = _sign(self._rekor, rfc8785.dumps(promised))
        proof = {
            "checkpoint": f"{note}\n\N{EM DASH} {ORIGIN} {signed}\n",
            "hashes": [],
            "logIndex": 0,
            "rootHash": root.hex(),
            "treeSize": 1,
        }
        verification = {
            "inclusionProof": proof,
            "signedEntryTimestamp": base64.b64encode(promise).decode(),
        }
        return {"0" * 64: {**promised, "verification": verification}}

    def configuration(self) -> Any:
        """The issuer's own: what OpenID Connect asks for."""
        address = self.issuer
        return {"issuer": address, "authorization_endpoint": address, "token_endpoint": address}

    def _stamps(self, logged: bytes, now: dt.datetime) -> bytes:
        """The certificate log's promise, as RFC 6962 packs it into a certificate."""
        authority = hashlib.sha256(_der(self._authority)).digest()
        length = struct.pack("!I", len(logged))[1:]
        milliseconds = int(now.timestamp()) * 1000
        head = struct.pack("!BBQH", 0, 0, milliseconds, 1)
        signature = _sign(self._log, head + authority + length + logged + b"\0\0")
        stamp = struct.pack("!B32sQHBBH", 0, _key_id(self._log), milliseconds, 0, 4, 3,
                            len(signature)) + signature  # fmt: skip
        listed = struct.pack("!H", len(stamp)) + stamp
        listed = struct.pack("!H", len(listed)) + listed
        return b"\x04" + bytes([0x81, len(listed)] if len(listed) > 127 else [len(listed)]) + listed

    def _certify_root(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fulcio.test")])
        now = dt.datetime.now(dt.UTC)
        own = x509.SubjectKeyIdentifier.from_public_key(self._authority.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._authority.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=False, certifies=True), critical=True)
            .add_extension(own, critical=False)
            .sign(self._authority, hashes.SHA256())
        )

    def _configuration(self) -> Any:
        since = (dt.datetime.now(dt.UTC) - DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
        valid = {"start": since}
        root = base64.b64encode(self._root.public_bytes(serialization.Encoding.DER)).decode()

        def log(key: ec.EllipticCurvePrivateKey) -> Any:
            return {
                "baseUrl": self.issuer,
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": base64.b64encode(_der(key)).decode(),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": valid,
                },
                "logId": {"keyId": base64.b64encode(_key_id(key)).decode()},
            }

        service = [
            {"url": self.issuer, "majorApiVersion": 1, "validFor": valid, "operator": "test"}
        ]
        return {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            "trustedRoot": {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self._rekor)],
                "ctlogs": [log(self._log)],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "test", "commonName": "fulcio.test"},
                        "uri": self.issuer,
                        "certChain": {"certificates": [{"rawBytes": root}]},
                        "validFor": valid,
                    }
                ],
                "timestampAuthorities": [],
            },
            "signingConfig": {
                "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                "caUrls": service,
                "oidcUrls": service,
                "rekorTlogUrls": service,
                "tsaUrls": [],
                "rekorTlogConfig": {"selector": "ANY"},
                "tsaConfig": {"selector": "ANY"},
            },
        }


def _usage(*, signs: bool, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=certifies, crl_sign=certifies,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _key_id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_der(key)).digest()


def _sign(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    return key.sign(content, ec.ECDSA(hashes.SHA256()))


def _hash(content: bytes) -> Any:
    return {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}


def _handler(sigstore: Sigstore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._give(200, sigstore.configuration())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if "certificateSigningRequest" in body:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                self._give(201, sigstore.certificate(body, token))
            else:
                self._give(201, sigstore.entry(body))

        def _give(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Tests are quiet."""

    return Handler


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Sigstore]:
    """A Sigstore that runs until the end of the block."""
    server = Sigstore(folder)
    try:
        yield server
    finally:
        server.close()
