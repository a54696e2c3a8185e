"""How URLs are opened: what a signature to S3 holds."""

import asyncio
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from builder.remote.address import open_store
from builder.remote.bucket import Bucket
from builder.remote.failures import UnusableError
from builder.remote.limits import Limits
from tests.certificates import issued
from tests.stores.plain import running

CONTENT = b"some weights"
SIGNED = hashlib.sha256(CONTENT).hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("asked", [None, "true", "false"])
def test_a_body_is_signed_where_nothing_else_protects_it(tmp_path, monkeypatch, tls, asked):
    certificates = issued(tmp_path / "tls")
    with running(tls=certificates.context("http/1.1") if tls else None) as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        if asked:
            monkeypatch.setenv("AWS_UNSIGNED_PAYLOAD", asked)
        bucket = Bucket("s3://bucket/there", Limits(), create=False)
        asyncio.run(bucket.put("blob", CONTENT))
        assert asyncio.run(bucket.get("blob", 100)) == CONTENT
    unsigned = tls if asked is None else asked == "true"
    assert server.digests == [UNSIGNED if unsigned else SIGNED]


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ENDPOINT",
        "AWS_ENDPOINT_URL_S3",
        "AWS_PROXY_URL",
        "AWS_SKIP_SIGNATURE",
        "AWS_UNSIGNED_PAYLOAD",
    ],
)
def test_an_empty_variable_is_none(monkeypatch, name):
    with running() as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv(name, "")
        bucket = Bucket("s3://bucket/there", Limits(retries=0), create=False)
        asyncio.run(bucket.put("blob", CONTENT))
        assert asyncio.run(bucket.get("blob", 100)) == CONTENT
        assert os.environ[name] == ""
    assert server.digests == [SIGNED]


@pytest.mark.slow
def test_an_empty_variable_is_none_to_stores_that_are_opened_at_once(monkeypatch):
    names = [f"AWS_{name}" for name in ("ALLOW_HTTP", "SKIP_SIGNATURE", "UNSIGNED_PAYLOAD")]
    for name in names:
        monkeypatch.setenv(name, "")  # an error where the store sees it
    started = threading.Barrier(8)

    def opened(_):
        started.wait()
        for _ in range(10):
            open_store("s3://bucket/there", Limits(), create=False)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(opened, range(8)))
    assert [os.environ[name] for name in names] == [""] * 3


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
def test_an_endpoint_that_is_no_address_is_told(monkeypatch, name):
    monkeypatch.setenv(name, "minio:9000")
    with pytest.raises(UnusableError, match="no address") as refused:
        Bucket("s3://bucket/there", Limits(), create=False)
    assert name in refused.value.fix


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_the_credentials_are_none(monkeypatch, name):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv(name, "")
    with pytest.raises(UnusableError, match="part of its credentials") as refused:
        asyncio.run(Bucket("s3://bucket/there", Limits(), create=False).get("blob", 100))
    assert name in refused.value.fix


@pytest.mark.parametrize(
    ("names", "trusted", "words"),
    [
        (("127.0.0.1",), False, "UnknownIssuer"),
        (("elsewhere.test",), True, "NotValidForName"),
    ],
)
def test_a_certificate_that_is_not_to_be_trusted_is_told(
    tmp_path, monkeypatch, names, trusted, words
):
    certificates = issued(tmp_path / "tls", *names)
    other = issued(tmp_path / "other")
    with running(tls=certificates.context("http/1.1")) as server:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        monkeypatch.setenv("SSL_CERT_FILE", str((certificates if trusted else other).authority))
        bucket = Bucket("s3://bucket/there", Limits(retries=0), create=False)
        with pytest.raises(UnusableError, match=words) as refused:
            asyncio.run(bucket.get("blob", 100))
    assert "SSL_CERT_FILE" in refused.value.fix
