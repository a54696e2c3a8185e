"""Signatures by a key, with the official program both ways."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib import dsse
from securesystemslib.signer import SSlibKey

from builder.errors import WorkFailedError
from builder.release.attest import envelope, signing
from builder.release.attest.provenance import provenance
from tests.release.attest.forgeries import refused
from tests.release.attest.keys import Keys
from tests.release.attest.official import official, official_sign, official_verify
from tests.release.attest.releases import signed as sign
from tests.release.attest.releases import verify

CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


@pytest.mark.slow
@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_the_official_program_accepts_ours(tmp_path, tree, manifest, curve):
    keys = Keys(tmp_path / "keys", ec.generate_private_key(curve))
    file = tmp_path / "release.sig"
    file.write_bytes(sign(manifest, keys.private))
    done = official_verify(tree, file, keys.public)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
    (tree / "encoder" / "1000000" / "model.onnx").write_bytes(b"other weights")
    assert official_verify(tree, file, keys.public).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_ours_accepts_the_official_program_s(tmp_path, tree, manifest, curve):
    keys = Keys(tmp_path / "keys", ec.generate_private_key(curve))
    signed = official_sign(tree, tmp_path / "release.sig", keys)
    verify(signed, manifest.encode(), keys.public)


def test_both_sign_the_same_statement(tmp_path, tree, manifest, keys, bundle):
    theirs = official_sign(tree, tmp_path / "release.sig", keys, "--no-ignore-git-paths")
    ours, other = (json.loads(envelope.decode(b, "").payload) for b in (bundle, theirs))
    assert ours["subject"][0].pop("name") == "cpu"
    assert other["subject"][0].pop("name") == "repository"
    assert ours == other  # in the same order of files, too


def test_what_the_official_program_left_out_is_missed(tmp_path, tree, manifest, keys):
    left = tree / "encoder" / "1000000"
    signed = official_sign(tree, tmp_path / "release.sig", keys, "--ignore-paths", left)
    with pytest.raises(WorkFailedError, match=r"not signed: encoder/1000000/model.onnx"):
        verify(signed, manifest.encode(), keys.public)


def test_a_certificate_s_bundle_is_refused_where_a_key_is_expected(tmp_path, tree, manifest, keys):
    signature = tmp_path / "release.sig"
    done = official(
        "sign", "certificate", "--private_key", keys.private,
        "--signing_certificate", keys.certificate, "--certificate_chain", keys.certificate,
        "--signature", signature, tree,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused(signature.read_bytes(), manifest, keys, "with a certificate, not with a key")


def test_other_implementations_of_dsse_accept_signed_statements(manifest, keys):
    said = provenance(manifest, manifest.digest)
    bundle = json.loads(signing.signer(keys.private)(said))
    key = SSlibKey.from_crypto(keys.key.public_key())
    key.keyid = ""  # bundles name keys elsewhere
    signed = dsse.Envelope.from_dict(bundle["dsseEnvelope"])
    assert signed.verify([key], 1)
    assert signed.payload == said
