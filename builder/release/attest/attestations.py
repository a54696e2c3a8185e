"""All that is attested of a release, by kind, and the media type of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.release.attest import envelope, mlbom, signing, statement
from builder.release.attest.provenance import provenance
from builder.release.attest.verdicts import verdicts

if TYPE_CHECKING:
    from pathlib import Path

    from builder.repository.manifest import Manifest

MEDIA_TYPES = {
    "sig": envelope.MEDIA_TYPE,
    "provenance": statement.MEDIA_TYPE,
    "provenance.sig": envelope.MEDIA_TYPE,
    "verdicts": statement.MEDIA_TYPE,
    "mlbom": mlbom.MEDIA_TYPE,
}


def attestations(manifest: Manifest, digest: str, key: Path | None = None) -> dict[str, bytes]:
    """What can be said of a release: statements, and signatures where there is a key.

    `sig` is over the release's files; `provenance.sig` over the provenance, which names the
    verdicts and the bill of materials by their digests.

    Raises:
        InputError, MissingError: as `signing.sign`.
    """
    said = {
        "provenance": provenance(manifest, digest),
        "verdicts": verdicts(manifest, digest),
        "mlbom": mlbom.mlbom(manifest, digest),
    }
    if key:
        said["sig"] = signing.sign(manifest, digest, key)
        said["provenance.sig"] = signing.sign_statement(said["provenance"], key)
    return said
