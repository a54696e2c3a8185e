"""Who must have signed a release for it to be taken: a key, an identity, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.release.store import Release


@dataclass(frozen=True)
class Trust:
    """Who is trusted.

    Attributes:
        key: a public key or certificate in PEM.
        identity: of a keyless signature: a mail address, or the address of a CI workflow.
        issuer: who vouches for the identity, `https://token.actions.githubusercontent.com`.
        config: a trust configuration of Sigstore's, where it is not the public one.

    Raises:
        InputError: both are named, an identity without its issuer, or `config` without either.
    """

    key: Path | None = None
    identity: str | None = None
    issuer: str | None = None
    config: Path | None = None

    def __post_init__(self) -> None:
        if self.key and self.identity:
            raise InputError(
                "a key or an identity, not both", where="--verify-key, --verify-identity"
            )
        if bool(self.identity) != bool(self.issuer):
            raise InputError(
                "an identity goes with who vouches for it",
                where="--verify-identity, --verify-issuer",
                found=self.identity or self.issuer,
                expected="both: --verify-identity WHO --verify-issuer https://…",
            )
        if self.config and not self.identity:
            raise InputError(
                "a trust configuration is for identities",
                where="--trust-config",
                found=str(self.config),
                expected="--verify-identity WHO --verify-issuer https://… with it",
            )

    def __bool__(self) -> bool:
        return self.key is not None or self.identity is not None

    def check(self, release: Release, signature: bytes | None) -> None:
        """Refuses a release that none of them signed.

        Raises:
            WorkFailedError: it is not signed, by another, or something else was signed.
            InputError, MissingError: the key, or what verifies, cannot be used.
        """
        if not self:
            return
        if signature is None:
            raise WorkFailedError(
                "the release is not signed",
                where=release.name[:19],
                expected=f"a signature by {self}",
                fix="publish it again with --sign-key or --keyless, where it was built",
            )
        from builder.release.attest import payload

        where = f"signature of {release.name[:19]}"
        payload.check(self._opened(signature, where), release.content, where)

    def check_provenance(self, release: Release, attested: Mapping[str, bytes | None]) -> bool:
        """Whether who is trusted signed the provenance; refuses one that another signed.

        Raises:
            WorkFailedError: the signature is not over it, or by another.
        """
        said, signature = attested.get("provenance"), attested.get("provenance.sig")
        if not self or said is None or signature is None:
            return False
        from builder.release.attest import statement

        where = f"provenance of {release.name[:19]}"
        statement.same(self._opened(signature, where), said, where)
        return True

    def _opened(self, bundle: bytes, where: str) -> bytes:
        """The statement that one of them signed."""
        from builder.release.attest import keyless, signing

        if self.key:
            return signing.opened(bundle, self.key, where)
        who, issuer = self.identity or "", self.issuer or ""
        return keyless.opened(bundle, who, issuer, where, self.config)

    def __str__(self) -> str:
        return f"{self.identity} of {self.issuer}" if self.identity else f"the key in {self.key}"
