"""What is pulled and verified where somebody must have signed it."""

import asyncio

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from builder.errors import InputError, WorkFailedError
from builder.release import layout, publish, pull, verify
from builder.release.attest import signing
from builder.release.attest.attestations import attestations
from builder.release.store import ReleaseStore
from builder.release.trust import Trust
from tests.release.trees import files, repository


@pytest.fixture
def store(tmp_path):
    return ReleaseStore((tmp_path / "store").as_uri(), create=True)


@pytest.fixture
def keys(tmp_path):
    """Makes a pair, and gives its files."""

    def make(name="own"):
        key = ec.generate_private_key(ec.SECP256R1())
        private, public = tmp_path / f"{name}.key", tmp_path / f"{name}.pub"
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
        info = serialization.PublicFormat.SubjectPublicKeyInfo
        public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, info))
        return private, public

    return make


@pytest.fixture
def released(store, tmp_path):
    """Publishes a repository, signed by a key where one is given; gives the release's name."""

    def release(key=None, content=b"1"):
        folder = tmp_path / f"repository-{content.decode()}"
        repository(folder, {"a": {content.decode(): {"model.onnx": content}}})
        sign = signing.signer(key) if key else None
        how = publish.Options(attest=lambda r: attestations(r.manifest, r.name, sign))
        return asyncio.run(publish.publish(folder, store, how)).release

    return release


def pulled(store, name, folder, trust):
    return asyncio.run(pull.pull(store, name, folder, pull.Options(check=trust.check)))


def test_what_the_key_signed_is_pulled_and_verified(store, released, keys, tmp_path):
    private, public = keys()
    release, trust = released(private), Trust(public)
    pulled(store, release, tmp_path / "pod", trust)
    assert asyncio.run(verify.in_store(store, release, trust)).provenance
    signature = asyncio.run(verify.signature_of(store, tmp_path / "pod"))
    assert verify.in_folder(tmp_path / "pod", trust, signature).release == release


def test_what_nobody_signed_is_refused_before_a_file_comes(store, released, keys, tmp_path):
    release, trust = released(), Trust(keys()[1])
    with pytest.raises(WorkFailedError, match="not signed"):
        pulled(store, release, tmp_path / "pod", trust)
    assert files(tmp_path / ".pod.pull") == {}
    with pytest.raises(WorkFailedError, match="not signed"):
        asyncio.run(verify.in_store(store, release, trust))


def test_what_another_key_signed_is_refused(store, released, keys, tmp_path):
    release = released(keys("other")[0])
    with pytest.raises(WorkFailedError, match="another key"):
        pulled(store, release, tmp_path / "pod", Trust(keys()[1]))
    assert not (tmp_path / "pod").exists()


def test_the_signature_of_another_release_is_refused(store, released, keys, tmp_path):
    private, public = keys()
    one, other = released(private, b"1"), released(private, b"2")
    kind = layout.SIGNATURE
    source, target = layout.attestation(other, kind), layout.attestation(one, kind)
    asyncio.run(store.bucket.copy(source, target, 100))
    with pytest.raises(WorkFailedError, match="of something else"):
        pulled(store, one, tmp_path / "pod", Trust(public))


def test_a_provenance_that_somebody_changed_is_refused(store, released, keys):
    private, public = keys()
    release = released(private)
    path = layout.attestation(release, "provenance")
    said = asyncio.run(store.bucket.get(path, 1 << 20))
    asyncio.run(store.bucket.put(path, said.replace(b"24.10", b"24.11")))
    with pytest.raises(WorkFailedError, match="another statement"):
        asyncio.run(verify.in_store(store, release, Trust(public)))


def test_a_release_can_be_signed_later(store, released, keys, tmp_path):
    private, public = keys()
    release = released()
    assert released(private) == release
    assert pulled(store, release, tmp_path / "pod", Trust(public)).changed


def test_nobody_in_particular_is_trusted_where_nobody_is_named(store, released, tmp_path):
    assert not Trust()
    assert pulled(store, released(), tmp_path / "pod", Trust()).changed


@pytest.mark.parametrize(
    "who", [{"identity": "a@b.c"}, {"issuer": "https://i"}, {"identity": "a", "issuer": "b"}]
)
def test_trust_must_be_one_thing_and_whole(who, keys):
    key = keys()[1] if len(who) == 2 else None
    with pytest.raises(InputError, match=r"not both|goes with"):
        Trust(key, **who)
