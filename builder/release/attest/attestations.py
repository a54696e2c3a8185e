"""All that is attested of a release, by kind, and the media type of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.release.attest import envelope, mlbom, payload, statement
from builder.release.attest.provenance import provenance
from builder.release.attest.verdicts import verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.repository.manifest import Manifest

MEDIA_TYPES = {
    "sig": envelope.MEDIA_TYPE,
    "provenance": statement.MEDIA_TYPE,
    "provenance.sig": envelope.MEDIA_TYPE,
    "verdicts": statement.MEDIA_TYPE,
    "mlbom": mlbom.MEDIA_TYPE,
}


def attestations(
    manifest: Manifest, digest: str, sign: Callable[[bytes], bytes] | None = None
) -> dict[str, bytes]:
    """What can be said of a release: statements, and signatures where somebody signs.

    `sig` is over the release's files; `provenance.sig` over the provenance, which names the
    verdicts and the bill of materials by their digests.

    Args:
        manifest: what the release holds.
        digest: its name, `sha256:…`.
        sign: makes a bundle over a statement; `signing.signer(key)`, or a `keyless.Signer`.

    Raises:
        InputError, MissingError, WorkFailedError: as `sign`.
    """
    said = {
        "provenance": provenance(manifest, digest),
        "verdicts": verdicts(manifest, digest),
        "mlbom": mlbom.mlbom(manifest, digest),
    }
    if sign:
        said["sig"] = sign(payload.statement_of(manifest, digest))
        said["provenance.sig"] = sign(said["provenance"])
    return said
