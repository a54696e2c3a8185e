"""How the URL of an object store is opened.

Credentials and endpoints come from the environment, under the names that `object_store` reads:

    s3://BUCKET/PREFIX  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
                        AWS_ENDPOINT_URL, AWS_ALLOW_HTTP=true (for an endpoint without TLS),
                        AWS_SKIP_SIGNATURE=true (a public bucket), AWS_WEB_IDENTITY_TOKEN_FILE with
                        AWS_ROLE_ARN; else what an EC2, ECS or EKS machine is given. Profiles and
                        ~/.aws are not read. Over TLS a signature does not hold the body's sha256,
                        as with AWS's own SDKs: AWS_UNSIGNED_PAYLOAD=false has it do so, and
                        =true leaves it out without TLS.
    gs://BUCKET/PREFIX  GOOGLE_SERVICE_ACCOUNT (a path), GOOGLE_SERVICE_ACCOUNT_KEY (JSON), or
                        Google's application default credentials
    az://CONTAINER/...  AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY,
                        AZURE_STORAGE_SAS_TOKEN, or AZURE_STORAGE_CLIENT_ID,
                        AZURE_STORAGE_CLIENT_SECRET and AZURE_STORAGE_TENANT_ID

and HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE for all of them. Nothing is read from the URL. A variable
that is empty, as CI systems leave one of a secret that is not there, is none.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from builder.remote.failures import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.remote.limits import Limits

OPENING = threading.Lock()
"""Stores are opened one at a time: the environment is the process's, and changed meanwhile."""

TRYING = 0.75
"""Of the time for an answer: no new try after it, so that the last one can still say what ails."""

CLIENT = (
    "allow_http",
    "allow_invalid_certificates",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
)
"""Settings of the HTTP client that stores read from the environment, unless they are given any."""

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

PREFIXES = {"s3": "AWS_", "s3a": "AWS_", "gs": "GOOGLE_", "az": "AZURE_", "abfs": "AZURE_",
            "abfss": "AZURE_"}  # fmt: skip


def open_store(url: str, limits: Limits, *, create: bool) -> tuple[Any, Any]:
    """A store for reading and one for writing; they differ in what they wait for.

    A client's read time-out runs while a request's body goes out, too: to writes it would be an
    end however steadily they go.
    """
    from obstore import store as stores

    from_url: Any = stores.from_url  # whose overloads know one store each
    scheme = urlsplit(url).scheme
    if scheme == "file":
        store = from_url(url, mkdir=create)
        return store, store
    if scheme not in PREFIXES:
        store = from_url(url)
        return store, store
    _check_endpoints(PREFIXES[scheme])
    options: dict[str, Any] = {
        name: value for name in CLIENT if (value := os.environ.get(PREFIXES[scheme] + name.upper()))
    }
    # the request as a whole has no end of its own: each is given one here, by its size
    options |= {"connect_timeout": timedelta(seconds=limits.connect), "timeout": "1h"}
    retry: Any = {
        "max_retries": limits.retries,
        "retry_timeout": timedelta(seconds=limits.answer * TRYING),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=2),
        },
    }
    extra = {"unsigned_payload": True} if _sealed(scheme) else {}
    patient: Any = {**options, "read_timeout": timedelta(seconds=limits.answer)}
    with _without_empty(PREFIXES[scheme]):
        return (
            from_url(url, client_options=patient, retry_config=retry, **extra),
            from_url(url, client_options=options, retry_config=retry, **extra),
        )


def _check_endpoints(prefix: str) -> None:
    """Refuses an endpoint that is no address: `object_store` panics at the first request.

    Raises:
        UnusableError: there is one.
    """
    for name in ENDPOINTS:
        value = os.environ.get(name) if name.startswith(prefix) else None
        if value and not value.lower().startswith(("http://", "https://")):
            raise UnusableError(
                f"its endpoint is no address ({name} has no http:// or https://)",
                f"write it as https://HOST:PORT in {name}",
            )


@contextmanager
def _without_empty(prefix: str) -> Iterator[None]:
    """Hides variables without a value: of some, `object_store` panics at the first request.

    It reads the environment of the process whatever is given beside it, and nothing that is given
    takes a variable back.
    """
    with OPENING:
        hidden = [n for n, value in os.environ.items() if n.startswith(prefix) and not value]
        for name in hidden:
            del os.environ[name]
        try:
            yield
        finally:
            os.environ.update(dict.fromkeys(hidden, ""))


def _sealed(scheme: str) -> bool:
    """Whether bodies go to S3 by TLS, so that their digest in the signature tells nothing new."""
    if PREFIXES[scheme] != "AWS_" or os.environ.get("AWS_UNSIGNED_PAYLOAD"):
        return False
    return not any(os.environ.get(name, "").lower().startswith("http://") for name in ENDPOINTS)


def folder_of(url: str) -> Path | None:
    """The folder that a URL names, if it names one."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
