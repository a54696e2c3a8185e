"""Addresses of shared caches."""

import pytest

from builder.errors import InputError
from builder.remote.cache import check_url


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket",
        "s3://bucket/a/prefix",
        "gs://bucket/prefix",
        "az://container/prefix",
        "abfss://container@account.dfs.core.windows.net/prefix",
        "file:///a/folder",
        "memory:///",
    ],
)
def test_an_address_of_a_known_store_is_right(url):
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://user:secret@bucket/prefix",
        "s3://secret@bucket/prefix",
        "s3://bucket/prefix?X-Amz-Signature=secret",
        "az://container/prefix?sig=secret",
        "abfss://container:secret@account.dfs.core.windows.net/prefix",
        "s3://bucket/prefix#secret",
        "ftp://user:secret@host/x",
        "s3://[secret",
        "s3://",
        "s3:///prefix",
        "https://bucket.example/prefix",
        "bucket/prefix",
        "/a/folder",
        "file://host/folder",
        "file:folder",
        "",
    ],
)
def test_an_address_that_is_wrong_is_told_without_its_secret(url):
    with pytest.raises(InputError) as error:
        check_url(url)
    assert "secret" not in str(error.value)
    assert error.value.expected
