"""What is signed, and what cannot be."""

import shutil

import pytest

from builder.errors import WorkFailedError
from builder.release.attest import signing, statement
from builder.release.attest.provenance import provenance
from tests.release.attest.releases import release, signed


def test_a_manifest_that_names_a_file_twice_cannot_be_signed(manifest, keys):
    entry = manifest.models["encoder"]
    entry.files["1000000/model.onnx"] = ("f" * 64, 1)
    with pytest.raises(WorkFailedError, match="twice"):
        signed(manifest, keys.private)


def test_statements_are_signed_and_held_to_their_bytes(manifest, keys, others):
    said = provenance(manifest, manifest.digest)
    bundle = signing.signer(keys.private)(said)
    assert signing.opened(bundle, keys.public, "provenance") == said
    with pytest.raises(WorkFailedError, match="another statement"):
        statement.same(said + b" ", said, "provenance")
    with pytest.raises(WorkFailedError, match="another key"):
        signing.opened(bundle, others.public, "provenance")


def test_signing_reads_no_file(tmp_path, keys):
    manifest = release(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert signed(manifest, keys.private)
