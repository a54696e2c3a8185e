"""Signatures by an identity instead of a key: Sigstore's Fulcio certifies, Rekor writes it down.

All of it is done by the `sigstore` package (the extra `sign`) over the network; what is signed are
the same statements as with a key, and what goes wrong is said in our words. The identity comes
from $SIGSTORE_ID_TOKEN, from the CI system that this runs in, or, at a terminal, from a log-in in
the browser.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, MissingError, WorkFailedError
from builder.release.attest import envelope as envelopes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105 - the variable's name
"""An OIDC token for the audience `sigstore`, where the CI system is not one that is known."""

UNREACHABLE = {
    "ConnectionError",
    "DownloadError",
    "MetadataError",
    "NetworkError",
    "RootError",
    "TUFError",
    "Timeout",
}
NO_IDENTITY = {"ExpiredIdentity", "IdentityError"}

LIBRARIES = {
    "cryptography",
    "id",
    "requests",
    "rfc3161_client",
    "sigstore",
    "tuf",
    "urllib3",
}
"""Whose errors are Sigstore's word. Beside them it is ValueError that says what does not fit."""


class Signer:
    """Makes Sigstore bundles over in-toto statements, by the identity of who runs this.

    The identity is asked for with the first; all that follow have its certificate, so that nobody
    logs in twice.

    Args:
        trust: a client trust configuration, for a Sigstore of one's own; the public one if None.
    """

    def __init__(self, trust: Path | None = None) -> None:
        self._trust = trust
        self._token = os.environ.get(TOKEN, "")

    def __call__(self, statement: bytes) -> bytes:
        """A bundle over a statement.

        Raises:
            MissingError: no identity, no network, or no package `sigstore`.
            WorkFailedError: Sigstore refused.
            InputError: the trust configuration cannot be used.
        """
        dsse = _library("dsse")
        with _translated("sign the release", self._token):
            bundle: str = self._certified.sign_dsse(dsse.Statement(statement)).to_json()
        return bundle.encode()

    @cached_property
    def _certified(self) -> Any:
        sigstore = _library("sign")
        config = _configuration(self._trust)
        context = sigstore.SigningContext.from_trust_config(config)
        return sigstore.Signer(_identity(config, self._token), context)


def opened(
    bundle: bytes, identity: str, issuer: str, where: str, trust: Path | None = None
) -> bytes:
    """The statement that a bundle is over, checked to be an identity's.

    Args:
        bundle: the signature.
        identity: who must have signed: a mail address, or the address of a CI workflow.
        issuer: who must vouch for that: `https://token.actions.githubusercontent.com`.
        where: for messages.
        trust: as for `Signer`.

    Raises:
        WorkFailedError: somebody else did, or it is no bundle.
        MissingError: no network to learn whom to trust, or no package `sigstore`.
        InputError: `trust` cannot be used.
    """
    sigstore, models = _library("verify"), _library("models")
    envelopes.payload(bundle, where)
    with _translated(f"verify {identity}'s signature"):
        verifier = sigstore.Verifier(trusted_root=_configuration(trust).trusted_root)
        who = sigstore.policy.Identity(identity=identity, issuer=issuer)
        content: bytes
        _, content = verifier.verify_dsse(models.Bundle.from_json(bundle), who)
    return content


def _identity(config: Any, token: str) -> Any:
    """Who signs.

    Raises:
        MissingError: nobody can be asked.
    """
    oidc = _library("oidc")
    found = token or oidc.detect_credential()
    if found:
        return oidc.IdentityToken(found)
    if not sys.stdin.isatty():  # else a browser opens
        raise MissingError(
            "signing without a key needs an identity, and none is offered here",
            expected=f"a CI system that offers one, a token in {TOKEN}, or a terminal",
            fix="on GitHub give the job `permissions: id-token: write`; or sign with --sign-key",
        )
    return oidc.Issuer(config.signing_config.get_oidc_url()).identity_token()


def _configuration(trust: Path | None) -> Any:
    """Whom to ask, and whom to believe.

    Raises:
        InputError: the file is none.
    """
    kind = _library("models").ClientTrustConfig
    if trust is None:
        return kind.production()
    expected = "a file: Sigstore's ClientTrustConfig as JSON"
    try:
        content = trust.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(
            "the trust configuration cannot be read", where=str(trust), found=e, expected=expected
        ) from e
    try:
        return kind.from_json(content)
    except Exception as e:
        if not _sigstore_s(e):
            raise
        raise InputError(
            "that is no trust configuration",
            where=str(trust),
            found=f"{type(e).__name__}: {e}"[:500],
            expected=expected,
        ) from e


def _library(part: str) -> Any:
    try:
        return importlib.import_module(f"sigstore.{part}")
    except ImportError as e:
        raise MissingError(
            "Sigstore identities need the package sigstore",
            found=str(e),
            fix="pip install 'triton-builder[sign]'; a key needs no such package",
        ) from e


@contextmanager
def _translated(what: str, secret: str = "") -> Iterator[None]:
    """Says what Sigstore's libraries say in our words; all else goes through as it is."""
    try:
        yield
    except Exception as e:  # the libraries below share no root of their errors
        if not _sigstore_s(e):
            raise
        if e.__cause__ and _machine_s(e.__cause__):
            raise e.__cause__ from None
        kinds = {kind.__name__ for kind in type(e).__mro__}
        said = f"{type(e).__name__}: {e}"[:500]
        if secret:
            said = said.replace(secret, "…")
        if kinds & UNREACHABLE:
            raise MissingError(
                f"cannot {what}: Sigstore cannot be reached",
                found=said,
                fix="check the network; or use a key (--sign-key, --verify-key), which needs none",
            ) from e
        if kinds & NO_IDENTITY:
            raise MissingError(
                f"cannot {what}: the identity is of no use", found=said, fix="get a fresh token"
            ) from e
        raise WorkFailedError(f"cannot {what}", found=said) from e


def _sigstore_s(error: BaseException) -> bool:
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return bool(modules & LIBRARIES) or isinstance(error, ValueError)


def _machine_s(cause: BaseException) -> bool:
    """Whether a full disk, or the like, was told as an error of TUF."""
    return isinstance(cause, OSError | MemoryError) and not _sigstore_s(cause)
