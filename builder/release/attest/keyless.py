"""Signatures by an identity instead of a key: Sigstore's Fulcio certifies, Rekor writes it down.

All of it is done by the `model-signing` package (the extra `sign`) over the network; this hands
it the digests that are known, so that no file is read again, and says what went wrong in our
words. The identity comes from $SIGSTORE_ID_TOKEN, from the CI system that this runs in, or, at a
terminal, from a log-in in the browser.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, MissingError, WorkFailedError
from builder.release.attest import envelope as envelopes
from builder.release.attest import payload as payloads
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.repository.manifest import Manifest

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
MISMATCH = "Signature mismatch"
"""How model signing begins when other files were signed."""

NO_IDENTITY = {"ExpiredIdentity", "IdentityError"}

LIBRARIES = {
    "cryptography",
    "id",
    "model_signing",
    "requests",
    "rfc3161_client",
    "sigstore",
    "tuf",
    "urllib3",
}
"""Whose errors are Sigstore's word. Beside them it is ValueError that says what does not fit."""


class _Known:
    """What model signing asks for a folder's digests, without the folder."""

    def __init__(self, name: str, files: payloads.Resources) -> None:
        from model_signing import manifest
        from model_signing._hashing.hashing import Digest

        how = {"method": payloads.METHOD, "hash_type": payloads.ALGORITHM, "allow_symlinks": False}
        form = manifest.SerializationType.from_args(how)
        items = [
            form.new_item(name, Digest(payloads.ALGORITHM, bytes.fromhex(sha256)))
            for name, sha256 in files.items()
        ]
        self._manifest = manifest.Manifest(name, items, form)

    def hash(self, _path: object, *, files_to_hash: object = None) -> Any:
        """The files as model signing's own manifest."""
        del files_to_hash
        return self._manifest

    def add_ignored_paths(self, **_: object) -> None:
        """Nothing of a release is ignored, whatever the signature says."""


def sign(manifest: Manifest, digest: str, trust: Path | None = None) -> bytes:
    """A Sigstore bundle over every file of a release, by the identity of who runs this.

    Args:
        manifest: what the release holds.
        digest: its name, `sha256:…`.
        trust: a client trust configuration, for a Sigstore of one's own; the public one if None.

    Raises:
        MissingError: no identity, no network, or no `model-signing`.
        WorkFailedError: Sigstore refused.
        InputError: `trust` cannot be used.
    """
    config = _library("signing").Config()
    known = _Known(manifest.target, payloads.resources(manifest, digest))
    token = os.environ.get(TOKEN, "")
    with _translated("sign the release", token), tempfile.TemporaryDirectory() as folder:
        if not token and not sys.stdin.isatty():
            _ambient()
        config.use_sigstore_signer(
            use_ambient_credentials=True, identity_token=token or None, trust_config=_file(trust)
        )
        config.set_hashing_config(known)
        bundle = Path(folder) / "bundle.json"
        config.sign(Path(manifest.target), bundle)
        return bundle.read_bytes()


def verify(
    bundle: bytes, manifest_bytes: bytes, identity: str, issuer: str, trust: Path | None = None
) -> None:
    """Checks that an identity signed exactly the files that a manifest names, and itself.

    Args:
        bundle: the signature.
        manifest_bytes: the manifest as it was found.
        identity: who must have signed: a mail address, or the address of a CI workflow.
        issuer: who must vouch for that: `https://token.actions.githubusercontent.com`.
        trust: as for `sign`.

    Raises:
        WorkFailedError: somebody else did, or something else was signed.
        MissingError: no network to learn whom to trust, or no `model-signing`.
        InputError: `trust` cannot be used.
    """
    config = _library("verifying").Config()
    digest = "sha256:" + hashlib.sha256(manifest_bytes).hexdigest()
    where = f"signature of {digest[:19]}"
    said = envelopes.payload(bundle, where)
    manifest = manifests.decode(manifest_bytes, where)
    files = payloads.resources(manifest, digest)
    known = _Known(manifest.target, files)
    with _translated(f"verify {identity}'s signature"), tempfile.TemporaryDirectory() as folder:
        config.use_sigstore_verifier(
            identity=identity, oidc_issuer=issuer, trust_config=_file(trust)
        )
        config.set_hashing_config(known)
        file = Path(folder) / "bundle.json"
        file.write_bytes(bundle)
        try:
            config.verify(Path(manifest.target), file)
        except ValueError as e:
            if str(e).startswith(MISMATCH):  # the signature holds: say in which files they differ
                _compare(said, files, digest, where)
            raise
        _compare(said, files, digest, where)


def _compare(said: bytes, files: payloads.Resources, digest: str, where: str) -> None:
    signed = payloads.decode(said, where)
    payloads.same_release(signed, digest, where)
    payloads.compare(signed, files, where)


def _ambient() -> None:
    """Makes sure that the CI system offers an identity: else the library opens a browser."""
    from sigstore.oidc import detect_credential

    if not detect_credential():
        raise MissingError(
            "signing without a key needs an identity, and none is offered here",
            expected=f"a CI system that offers one, a token in {TOKEN}, or a terminal",
            fix="on GitHub give the job `permissions: id-token: write`; or sign with --sign-key",
        )


def _library(part: str) -> Any:
    try:
        return importlib.import_module(f"model_signing.{part}")
    except ImportError as e:
        raise MissingError(
            "Sigstore identities need the package model-signing",
            found=str(e),
            fix="pip install 'triton-builder[sign]'; a key needs no such package",
        ) from e


def _file(trust: Path | None) -> Path | None:
    if trust and not trust.is_file():
        raise InputError(
            "there is no such trust configuration",
            where=str(trust),
            expected="a file: Sigstore's ClientTrustConfig as JSON",
        )
    return trust


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
