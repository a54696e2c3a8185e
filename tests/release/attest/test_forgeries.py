"""Signatures of something else, or by somebody else, are refused."""

import base64
import json

import pytest

from builder.errors import WorkFailedError
from builder.release.attest import payload
from tests.release.attest.forgeries import edited, refused, signed_anew
from tests.release.attest.releases import ENCODER, MODELS, release, signed, verify


def test_another_key_is_refused_by_its_hint_and_without_it(manifest, keys, others, bundle):
    refused(bundle, manifest, others, "signed with another key")
    bare = edited(bundle, lambda b: b["verificationMaterial"]["publicKey"].clear())
    verify(bare, manifest.encode(), keys.public)  # as old signers write it
    refused(bare, manifest, others, "does not hold")
    hint = json.loads(signed(manifest, others.private))
    hint = hint["verificationMaterial"]["publicKey"]["hint"]
    forged = edited(bundle, lambda b: b["verificationMaterial"].update(publicKey={"hint": hint}))
    refused(forged, manifest, others, "does not hold")


def test_a_bundle_cut_anywhere_is_refused(manifest, keys, bundle):
    for end in [*range(0, len(bundle) - 1, 97), len(bundle) - 2]:
        refused(bundle[:end], manifest, keys, "is no Sigstore bundle")


def test_no_flipped_bit_of_the_statement_or_the_signature_passes(manifest, keys, bundle):
    for name, place in (("payload", "dsseEnvelope"), ("sig", "signatures")):
        good = json.loads(bundle)["dsseEnvelope"]
        raw = base64.b64decode(good["payload"] if name == "payload" else good[place][0]["sig"])
        for at in range(0, len(raw), max(1, len(raw) // 60)):
            bad = bytearray(raw)
            bad[at] ^= 1
            text = base64.b64encode(bad).decode()

            def edit(value, name=name, text=text):
                own = value["dsseEnvelope"]
                (own if name == "payload" else own["signatures"][0])[name] = text

            refused(edited(bundle, edit), manifest, keys, "does not hold")


def test_another_release_s_signature_is_refused(tmp_path, manifest, keys, bundle):
    changed = {**MODELS, "encoder": {**ENCODER, "config.pbtxt": b"other"}}
    other = release(tmp_path / "other", changed)
    refused(bundle, other, keys, f"found: .*a signature of {manifest.digest}")


def test_a_manifest_of_other_bytes_is_refused(manifest, keys, bundle):
    same = json.dumps(json.loads(manifest.encode())).encode()
    with pytest.raises(WorkFailedError, match="something else"):
        verify(bundle, same, keys.public)
    with pytest.raises(WorkFailedError, match="something else"):
        verify(bundle, b"\xff\xfe", keys.public)


def _added(statement):
    extra = {"name": "encoder/evil.py", "algorithm": "sha256", "digest": "0" * 64}
    statement["predicate"]["resources"].append(extra)


def _removed(statement):
    statement["predicate"]["resources"].pop()


def _renamed(statement):
    statement["predicate"]["resources"][0]["name"] = "encoder/1000000/other.onnx"


def _changed(statement):
    statement["predicate"]["resources"][0]["digest"] = "0" * 64


def _without_manifest(statement):
    resources = statement["predicate"]["resources"]
    resources[:] = [r for r in resources if r["name"] != "manifest.json"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_added, "signed, not in the manifest: encoder/evil.py"),
        (_removed, "not signed: "),
        (_renamed, "signed, not in the manifest: encoder/1000000/other.onnx"),
        (_changed, "signed with other bytes: "),
        (_without_manifest, "a signature of no manifest"),
    ],
)
def test_files_that_differ_are_refused_by_name(manifest, keys, bundle, edit, words):
    def consistent(statement):
        edit(statement)
        files = {r["name"]: r["digest"] for r in statement["predicate"]["resources"]}
        statement["subject"][0]["digest"]["sha256"] = payload._root(files)

    refused(signed_anew(bundle, keys, consistent), manifest, keys, words)
    if edit is not _renamed:  # the sum is over contents: names are held against the manifest
        refused(signed_anew(bundle, keys, edit), manifest, keys, "over the files")
