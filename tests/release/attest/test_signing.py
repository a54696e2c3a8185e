"""Signatures by a key: with the official program both ways, and against all that can be wrong."""

import base64
import datetime as dt
import json
import shutil
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from securesystemslib import dsse
from securesystemslib.signer import SSlibKey

from builder.errors import InputError, MissingError, WorkFailedError
from builder.release.attest import envelope, payload, signing
from builder.release.attest.provenance import provenance
from tests.release.attest.releases import ENCODER, MODELS, release

CURVES = [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()]


def private_pem(key, password=None):
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def public_pem(key):
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def certificate(key):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class Keys:
    """A pair of keys in files."""

    def __init__(self, folder, key):
        folder.mkdir()
        self.key = key
        self.private = folder / "release.key"
        self.public = folder / "release.pub"
        self.certificate = folder / "release.crt"
        self.private.write_bytes(private_pem(key))
        self.public.write_bytes(public_pem(key))
        self.certificate.write_bytes(certificate(key))


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path / "keys", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def others(tmp_path):
    return Keys(tmp_path / "others", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "repository"


@pytest.fixture
def manifest(tree):
    return release(tree)


@pytest.fixture
def bundle(manifest, keys):
    return signing.sign(manifest, manifest.digest, keys.private)


def official(*arguments):
    """Runs the command `model_signing`."""
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def official_verify(tree, signature, key):
    return official("verify", "key", "--public_key", key, "--signature", signature, tree)


def official_sign(tree, signature, keys, *more):
    done = official(
        "sign", "key", "--private_key", keys.private, "--signature", signature, *more, tree
    )
    assert done.returncode == 0, done.stderr
    return signature.read_bytes()


# --- with the official program ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_the_official_program_accepts_ours(tmp_path, tree, manifest, curve):
    keys = Keys(tmp_path / "keys", ec.generate_private_key(curve))
    file = tmp_path / "release.sig"
    file.write_bytes(signing.sign(manifest, manifest.digest, keys.private))
    done = official_verify(tree, file, keys.public)
    assert (done.returncode, done.stdout) == (0, "Verification succeeded\n"), done.stderr
    (tree / "encoder" / "1000000" / "model.onnx").write_bytes(b"other weights")
    assert official_verify(tree, file, keys.public).returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("curve", CURVES, ids=lambda c: c.name)
def test_ours_accepts_the_official_program_s(tmp_path, tree, manifest, curve):
    keys = Keys(tmp_path / "keys", ec.generate_private_key(curve))
    signed = official_sign(tree, tmp_path / "release.sig", keys)
    signing.verify(signed, manifest.encode(), keys.public)


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
        signing.verify(signed, manifest.encode(), keys.public)


# --- keys ------------------------------------------------------------------------------------


def test_a_key_signs_the_same_way_each_time(manifest, keys, bundle):
    assert signing.sign(manifest, manifest.digest, keys.private) == bundle


def test_a_certificate_serves_as_its_key(manifest, keys, others, bundle):
    signing.verify(bundle, manifest.encode(), keys.certificate)
    with pytest.raises(WorkFailedError, match="another key"):
        signing.verify(bundle, manifest.encode(), others.certificate)


def test_an_encrypted_key_opens_with_its_password(manifest, keys, bundle, monkeypatch):
    keys.private.write_bytes(private_pem(keys.key, b"correct horse"))
    monkeypatch.delenv("TRITON_BUILDER_KEY_PASSWORD", raising=False)
    with pytest.raises(MissingError, match="TRITON_BUILDER_KEY_PASSWORD"):
        signing.sign(manifest, manifest.digest, keys.private)
    monkeypatch.setenv("TRITON_BUILDER_KEY_PASSWORD", "battery staple")
    with pytest.raises(InputError) as refused:
        signing.sign(manifest, manifest.digest, keys.private)
    assert "battery" not in str(refused.value)
    monkeypatch.setenv("TRITON_BUILDER_KEY_PASSWORD", "correct horse")
    assert signing.sign(manifest, manifest.digest, keys.private) == bundle


def test_a_password_that_is_not_needed_does_no_harm(manifest, keys, bundle, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_KEY_PASSWORD", "correct horse")
    assert signing.sign(manifest, manifest.digest, keys.private) == bundle


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (rsa.generate_private_key(65537, 2048), "RSA"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
    ],
    ids=["rsa", "ed25519", "secp256k1"],
)
def test_keys_of_other_kinds_are_refused(manifest, keys, bundle, key, found):
    keys.private.write_bytes(private_pem(key))
    keys.public.write_bytes(public_pem(key))
    with pytest.raises(InputError, match=found):
        signing.sign(manifest, manifest.digest, keys.private)
    with pytest.raises(InputError, match=found):
        signing.verify(bundle, manifest.encode(), keys.public)


def test_the_wrong_kind_of_file_is_said_to_be_one(manifest, keys, bundle, tmp_path):
    with pytest.raises(InputError, match="a public key"):
        signing.sign(manifest, manifest.digest, keys.public)
    with pytest.raises(InputError, match="a private key") as refused:
        signing.verify(bundle, manifest.encode(), keys.private)
    assert private_pem(keys.key).decode().splitlines()[1] not in str(refused.value)
    for content in (b"", b"\0\xff" * 100, b"-----BEGIN PUBLIC KEY-----\nAAAA\n"):
        keys.public.write_bytes(content)
        with pytest.raises(InputError, match=str(keys.public)):
            signing.verify(bundle, manifest.encode(), keys.public)
    with pytest.raises(InputError, match="No such file"):
        signing.verify(bundle, manifest.encode(), tmp_path / "absent.pub")


def test_verifying_needs_cryptography_and_no_more(tree, manifest, keys, bundle, tmp_path):
    (tmp_path / "release.sig").write_bytes(bundle)
    script = f"""
import sys
from pathlib import Path
from builder.release.attest import signing
assert "cryptography" not in sys.modules
signing.verify(
    Path({str(tmp_path / "release.sig")!r}).read_bytes(),
    Path({str(tree / "manifest.json")!r}).read_bytes(),
    Path({str(keys.public)!r}),
)
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    parts = {name.split(".")[0] for name in done.stdout.split()}
    assert not parts & {"model_signing", "sigstore", "pydantic", "google", "numpy"}


def test_without_cryptography_it_says_what_to_install(manifest, keys, bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingError, match="pip install"):
        signing.verify(bundle, manifest.encode(), keys.public)


# --- what must be refused --------------------------------------------------------------------


def refused(bundle, manifest, keys, words):
    with pytest.raises(WorkFailedError, match=words):
        signing.verify(bundle, manifest.encode(), keys.public)


def edited(bundle, edit):
    value = json.loads(bundle)
    edit(value)
    return json.dumps(value).encode()


def signed_anew(bundle, keys, edit):
    """The bundle with another statement, which the same key has signed."""
    statement = json.loads(envelope.decode(bundle, "").payload)
    edit(statement)
    return signing.sign_statement(json.dumps(statement).encode(), keys.private)


def test_another_key_is_refused_by_its_hint_and_without_it(manifest, keys, others, bundle):
    refused(bundle, manifest, others, "signed with another key")
    bare = edited(bundle, lambda b: b["verificationMaterial"]["publicKey"].clear())
    signing.verify(bare, manifest.encode(), keys.public)  # as old signers write it
    refused(bare, manifest, others, "does not hold")
    hint = json.loads(signing.sign(manifest, manifest.digest, others.private))
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
        signing.verify(bundle, same, keys.public)
    with pytest.raises(WorkFailedError, match="something else"):
        signing.verify(bundle, b"\xff\xfe", keys.public)


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
    refused(signing.sign_statement(said, keys.private), manifest, keys, "slsa.dev/provenance")


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


def test_a_certificate_s_bundle_is_refused_where_a_key_is_expected(tmp_path, tree, manifest, keys):
    signature = tmp_path / "release.sig"
    done = official(
        "sign", "certificate", "--private_key", keys.private,
        "--signing_certificate", keys.certificate, "--certificate_chain", keys.certificate,
        "--signature", signature, tree,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused(signature.read_bytes(), manifest, keys, "with a certificate, not with a key")


def test_a_manifest_that_names_a_file_twice_cannot_be_signed(manifest, keys):
    entry = manifest.models["encoder"]
    entry.files["1000000/model.onnx"] = ("f" * 64, 1)
    with pytest.raises(WorkFailedError, match="twice"):
        signing.sign(manifest, manifest.digest, keys.private)


def test_statements_are_signed_and_held_to_their_bytes(manifest, keys, others):
    said = provenance(manifest, manifest.digest)
    bundle = signing.sign_statement(said, keys.private)
    signing.verify_statement(bundle, said, keys.public, "provenance")
    with pytest.raises(WorkFailedError, match="another statement"):
        signing.verify_statement(bundle, said + b" ", keys.public, "provenance")
    with pytest.raises(WorkFailedError, match="another key"):
        signing.verify_statement(bundle, said, others.public, "provenance")


def test_other_implementations_of_dsse_accept_signed_statements(manifest, keys):
    said = provenance(manifest, manifest.digest)
    bundle = json.loads(signing.sign_statement(said, keys.private))
    key = SSlibKey.from_crypto(keys.key.public_key())
    key.keyid = ""  # bundles name keys elsewhere
    signed = dsse.Envelope.from_dict(bundle["dsseEnvelope"])
    assert signed.verify([key], 1)
    assert signed.payload == said


def test_signing_reads_no_file(tmp_path, keys):
    manifest = release(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert signing.sign(manifest, manifest.digest, keys.private)
