"""A release, the keys of who signs it and of another, and the signature."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.release.attest.keys import Keys
from tests.release.attest.releases import release, signed


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
    return signed(manifest, keys.private)
