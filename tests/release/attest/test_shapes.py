"""Bundles and statements of other shapes are refused, with what is wrong."""

import pytest

from builder.release.attest import signing
from builder.release.attest.provenance import provenance
from tests.release.attest.forgeries import edited, refused, signed_anew


def _set(*path, value):
    def edit(statement):
        inner = statement
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set("predicate", "resources", 0, "algorithm", value="blake3"), "by blake3"),
        (_set("predicate", "serialization", "hash_type", value="blake2b"), "files by blake2b"),
        (_set("predicate", "serialization", "method", value="shards"), "shards by sha256"),
        (_set("predicateType", value="https://model_signing/Digests/v0.1"), "Digests/v0.1"),
        (_set("_type", value="https://in-toto.io/Statement/v0.1"), "Statement/v0.1"),
        (_set("predicate", "resources", value=[]), "over the files"),
        (_set("predicate", "resources", value="all"), "TypeError"),
        (_set("predicate", "resources", 0, "digest", value="zz"), "ValueError"),
        (_set("predicate", value=None), "TypeError"),
        (_set("subject", value=[]), "ValueError"),
        (lambda s: s["subject"].append(s["subject"][0]), "ValueError"),
        (lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]), "twice"),
    ],
)
def test_statements_of_other_shapes_are_refused(manifest, keys, bundle, edit, words):
    refused(signed_anew(bundle, keys, edit), manifest, keys, words)


def test_a_statement_of_another_kind_is_no_signature_of_the_release(manifest, keys):
    said = provenance(manifest, manifest.digest)
    refused(signing.signer(keys.private)(said), manifest, keys, "slsa.dev/provenance")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_set("dsseEnvelope", "signatures", value=[]), "0 signatures"),
        (lambda b: b["dsseEnvelope"]["signatures"].append({"sig": ""}), "2 signatures"),
        (_set("dsseEnvelope", "signatures", value=[None]), "without sig"),
        (_set("dsseEnvelope", "signatures", 0, "sig", value=""), "does not hold"),
        (_set("dsseEnvelope", "signatures", 0, "sig", value="!!!!"), "not base64"),
        (_set("dsseEnvelope", "payload", value=7), "without payload"),
        (_set("dsseEnvelope", "payloadType", value="text/plain"), "payload of type text/plain"),
        (_set("dsseEnvelope", value=None), "without dsseEnvelope"),
        (lambda b: b.update(messageSignature=b.pop("dsseEnvelope")), "without a signed statement"),
        (_set("mediaType", value="application/vnd.dev.sigstore.bundle+json;version=0.1"), "0.1"),
        (lambda b: b.pop("verificationMaterial"), "without verificationMaterial"),
        (_set("verificationMaterial", value={}), "without publicKey"),
        (_set("verificationMaterial", value={"certificate": {"rawBytes": ""}}), "a certificate"),
        (lambda b: b["verificationMaterial"].update(certificate={}), "a certificate"),
    ],
)
def test_bundles_of_other_shapes_are_refused(manifest, keys, bundle, edit, words):
    refused(edited(bundle, edit), manifest, keys, words)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"7", b'"x"', b"\xff\xfe\0", b"[" * 99999]
)
def test_what_is_no_bundle_at_all_is_refused(manifest, keys, content):
    refused(content, manifest, keys, "signature")
