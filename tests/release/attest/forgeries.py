"""Signatures that somebody has changed."""

import json

import pytest

from builder.errors import WorkFailedError
from builder.release.attest import envelope, signing
from tests.release.attest.releases import verify


def refused(bundle, manifest, keys, words):
    with pytest.raises(WorkFailedError, match=words):
        verify(bundle, manifest.encode(), keys.public)


def edited(bundle, edit):
    value = json.loads(bundle)
    edit(value)
    return json.dumps(value).encode()


def signed_anew(bundle, keys, edit):
    """The bundle with another statement, which the same key has signed."""
    statement = json.loads(envelope.decode(bundle, "").payload)
    edit(statement)
    return signing.signer(keys.private)(json.dumps(statement).encode())
