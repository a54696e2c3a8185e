"""Signatures by an identity, at a Sigstore of our own; the public one needs a network."""

import errno
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from builder.errors import InputError, MissingError, WorkFailedError
from builder.release.attest import keyless, payload, signing
from builder.release.attest.attestations import attestations
from builder.release.store import Release
from builder.release.trust import Trust
from tests.release.attest.releases import ENCODER, MODELS, release
from tests.release.attest.sigstore import IDENTITY, running

pytestmark = pytest.mark.slow


@pytest.fixture
def sigstore(tmp_path):
    with running(tmp_path) as server:
        yield server


@pytest.fixture
def bundle(manifest, sigstore, monkeypatch):
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", sigstore.token())
    return signed(manifest, sigstore.trust)


@pytest.fixture
def nobody(monkeypatch):
    for name in ("SIGSTORE_ID_TOKEN", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)


def signed(manifest, trust=None):
    return keyless.Signer(trust)(payload.statement_of(manifest, manifest.digest))


def verify(bundle, manifest, sigstore, identity=IDENTITY, issuer=None):
    who = (identity, issuer or sigstore.issuer)
    said = keyless.opened(bundle, *who, "signature", sigstore.trust)
    payload.check(said, manifest.encode(), "signature")


def test_an_identity_signs_and_is_recognised(bundle, manifest, sigstore):
    verify(bundle, manifest, sigstore)
    assert len(sigstore.entries) == 1  # it stands in the log, for all to see


def test_what_an_identity_says_of_a_release_is_held_to_its_word(manifest, sigstore, monkeypatch):
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", sigstore.token())
    said = attestations(manifest, manifest.digest, keyless.Signer(sigstore.trust))
    release = Release(manifest.digest, manifest, manifest.encode())
    trust = Trust(identity=IDENTITY, issuer=sigstore.issuer, config=sigstore.trust)
    trust.check(release, said["sig"])
    assert trust.check_provenance(release, said)
    one, other = (
        json.loads(said[kind])["verificationMaterial"] for kind in ("sig", "provenance.sig")
    )
    assert one["certificate"] == other["certificate"]  # nobody logged in twice
    with pytest.raises(WorkFailedError, match="another statement"):
        trust.check_provenance(release, {**said, "provenance": said["provenance"] + b" "})
    with pytest.raises(WorkFailedError, match="something else than which files"):
        trust.check(release, said["provenance.sig"])
    with pytest.raises(WorkFailedError, match="do not match mallory"):
        replace(trust, identity="mallory@example.org").check_provenance(release, said)


def test_a_trust_configuration_goes_with_an_identity(sigstore):
    with pytest.raises(InputError, match="is for identities"):
        Trust(config=sigstore.trust)


def test_the_official_program_accepts_it(tmp_path, bundle, tree, sigstore):
    (tmp_path / "release.sig").write_bytes(bundle)
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", "verify", "sigstore", "--identity", IDENTITY,
         "--identity_provider", sigstore.issuer, "--trust_config", sigstore.trust,
         "--signature", tmp_path / "release.sig", tree],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_ours_accepts_the_official_program_s(tmp_path, tree, manifest, sigstore):
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", "sign", "sigstore", "--identity_token",
         sigstore.token(), "--trust_config", sigstore.trust,
         "--signature", tmp_path / "release.sig", tree],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    verify((tmp_path / "release.sig").read_bytes(), manifest, sigstore)


def test_another_identity_is_refused(bundle, manifest, sigstore):
    with pytest.raises(WorkFailedError, match="do not match mallory"):
        verify(bundle, manifest, sigstore, identity="mallory@example.org")
    with pytest.raises(WorkFailedError, match="OIDCIssuer"):
        verify(bundle, manifest, sigstore, issuer="https://issuer.example")


def test_another_release_is_refused(tmp_path, bundle, manifest, sigstore):
    other = release(tmp_path / "other", {**MODELS, "encoder": {**ENCODER, "config.pbtxt": b"x"}})
    with pytest.raises(WorkFailedError, match=f"a signature of {manifest.digest}"):
        verify(bundle, other, sigstore)


def test_what_was_left_out_is_missed(tmp_path, tree, manifest, sigstore):
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", "sign", "sigstore", "--identity_token",
         sigstore.token(), "--trust_config", sigstore.trust, "--ignore-paths", tree / "text",
         "--signature", tmp_path / "release.sig", tree],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(WorkFailedError, match=r"not signed: text/1000000/ensemble, text/config"):
        verify((tmp_path / "release.sig").read_bytes(), manifest, sigstore)


def test_another_sigstore_s_word_counts_for_nothing(tmp_path, bundle, manifest):
    (tmp_path / "other").mkdir()
    with running(tmp_path / "other") as other, pytest.raises(WorkFailedError):
        verify(bundle, manifest, other)


def test_an_edited_bundle_is_refused(bundle, manifest, sigstore):
    value = json.loads(bundle)
    value["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1"
    with pytest.raises(WorkFailedError):
        verify(json.dumps(value).encode(), manifest, sigstore)
    for content in (b"", b"{}", bundle[:-100]):
        with pytest.raises(WorkFailedError):
            verify(content, manifest, sigstore)


def test_a_key_does_not_verify_it(bundle, manifest, tmp_path):
    key = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"]
    made = subprocess.run(key, capture_output=True, check=True).stdout
    public = ["openssl", "ec", "-pubout"]
    (tmp_path / "release.pub").write_bytes(
        subprocess.run(public, input=made, capture_output=True, check=True).stdout
    )
    with pytest.raises(WorkFailedError, match="with a certificate, not with a key"):
        signing.opened(bundle, tmp_path / "release.pub", "signature")


def test_nobody_can_sign_without_an_identity(nobody, manifest, sigstore, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(MissingError, match="id-token: write"):
        signed(manifest, sigstore.trust)
    assert sigstore.entries == []


def test_a_token_that_is_too_old_is_not_repeated(manifest, sigstore, monkeypatch):
    token = sigstore.token(age=3600)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token)
    with pytest.raises(MissingError, match="the identity is of no use") as refused:
        signed(manifest, sigstore.trust)
    assert token not in str(refused.value)


def test_a_sigstore_that_is_not_there_is_missing(manifest, tmp_path, monkeypatch):
    with running(tmp_path) as gone:
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", gone.token())
    with pytest.raises(MissingError, match="cannot be reached"):
        signed(manifest, gone.trust)


@pytest.mark.parametrize("error", [KeyError("x"), MemoryError(), OSError(errno.ENOSPC, "full")])
def test_what_is_not_sigstore_s_word_is_not_told_as_such(
    manifest, sigstore, monkeypatch, bundle, error
):
    def broken(*_args, **_named):
        raise error

    monkeypatch.setattr("sigstore.sign.Signer.sign_dsse", broken)
    with pytest.raises(type(error)) as signing_it:
        signed(manifest, sigstore.trust)
    monkeypatch.setattr("sigstore.verify.Verifier.verify_dsse", broken)
    with pytest.raises(type(error)) as verifying_it:
        verify(bundle, manifest, sigstore)
    assert signing_it.value is verifying_it.value is error


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "full")])
def test_a_machine_that_ails_is_no_sigstore_out_of_reach(manifest, monkeypatch, tmp_path, error):
    def broken(*_args, **_named):
        raise error

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tuf.ngclient.Updater.refresh", broken)
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "x")
    with pytest.raises(type(error)):
        signed(manifest)


@pytest.mark.parametrize("content", ["", "{}", '{"mediaType": "x"}', "\xff"])
def test_a_trust_configuration_that_is_none_is_named(manifest, tmp_path, monkeypatch, content):
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "x")
    (tmp_path / "trust.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"trust\.json"):
        signed(manifest, tmp_path / "trust.json")


def test_a_trust_configuration_that_is_not_there_is_named(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", "x")
    with pytest.raises(InputError, match=r"absent\.json"):
        signed(manifest, tmp_path / "absent.json")


def test_without_the_package_it_says_what_to_install(manifest, monkeypatch):
    monkeypatch.setitem(sys.modules, "sigstore.dsse", None)
    with pytest.raises(MissingError, match=r"triton-builder\[sign\]"):
        signed(manifest)
