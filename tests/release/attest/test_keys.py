"""Keys that sign and verify, and those that do not."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from builder.errors import InputError, MissingError, WorkFailedError
from tests.release.attest.keys import private_pem, public_pem
from tests.release.attest.releases import signed, verify


def test_a_key_signs_the_same_way_each_time(manifest, keys, bundle):
    assert signed(manifest, keys.private) == bundle


def test_a_certificate_serves_as_its_key(manifest, keys, others, bundle):
    verify(bundle, manifest.encode(), keys.certificate)
    with pytest.raises(WorkFailedError, match="another key"):
        verify(bundle, manifest.encode(), others.certificate)


def test_an_encrypted_key_opens_with_its_password(manifest, keys, bundle, monkeypatch):
    keys.private.write_bytes(private_pem(keys.key, b"correct horse"))
    monkeypatch.delenv("TRITON_BUILDER_KEY_PASSWORD", raising=False)
    with pytest.raises(MissingError, match="TRITON_BUILDER_KEY_PASSWORD"):
        signed(manifest, keys.private)
    monkeypatch.setenv("TRITON_BUILDER_KEY_PASSWORD", "battery staple")
    with pytest.raises(InputError) as refused:
        signed(manifest, keys.private)
    assert "battery" not in str(refused.value)
    monkeypatch.setenv("TRITON_BUILDER_KEY_PASSWORD", "correct horse")
    assert signed(manifest, keys.private) == bundle


def test_a_password_that_is_not_needed_does_no_harm(manifest, keys, bundle, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_KEY_PASSWORD", "correct horse")
    assert signed(manifest, keys.private) == bundle


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
        signed(manifest, keys.private)
    with pytest.raises(InputError, match=found):
        verify(bundle, manifest.encode(), keys.public)


def test_the_wrong_kind_of_file_is_said_to_be_one(manifest, keys, bundle, tmp_path):
    with pytest.raises(InputError, match="a public key"):
        signed(manifest, keys.public)
    with pytest.raises(InputError, match="a private key") as refused:
        verify(bundle, manifest.encode(), keys.private)
    assert private_pem(keys.key).decode().splitlines()[1] not in str(refused.value)
    for content in (b"", b"\0\xff" * 100, b"-----BEGIN PUBLIC KEY-----\nAAAA\n"):
        keys.public.write_bytes(content)
        with pytest.raises(InputError, match=str(keys.public)):
            verify(bundle, manifest.encode(), keys.public)
    with pytest.raises(InputError, match="No such file"):
        verify(bundle, manifest.encode(), tmp_path / "absent.pub")


def test_verifying_needs_cryptography_and_no_more(tree, manifest, keys, bundle, tmp_path):
    (tmp_path / "release.sig").write_bytes(bundle)
    script = f"""
import sys
from pathlib import Path
from builder.release.attest import payload, signing
assert "cryptography" not in sys.modules
bundle = Path({str(tmp_path / "release.sig")!r}).read_bytes()
signed = signing.opened(bundle, Path({str(keys.public)!r}), "")
payload.check(signed, Path({str(tree / "manifest.json")!r}).read_bytes(), "")
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
        verify(bundle, manifest.encode(), keys.public)
