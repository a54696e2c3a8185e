"""in-toto statements: what they are about, and their one form as bytes.

The form is that of https://in-toto.io/Statement/v1. No clock, no address of a run: a release has
one statement of a kind, whoever makes it and whenever.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.repository.manifest import Manifest

TYPE = "https://in-toto.io/Statement/v1"
MEDIA_TYPE = "application/vnd.in-toto+json"
BUILDER = "triton-builder"


def encode(kind: str, subject: list[dict[str, Any]], predicate: Mapping[str, Any]) -> bytes:
    """A statement of a predicate type about subjects."""
    return encoded(
        {"_type": TYPE, "subject": subject, "predicateType": kind, "predicate": predicate}
    )


def encoded(value: Mapping[str, Any]) -> bytes:
    """JSON in one form: sorted keys, so that no order of making shows."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def same(signed: bytes, statement: bytes, where: str) -> None:
    """Checks that what was signed is a statement, byte by byte.

    Raises:
        WorkFailedError: it is another one.
    """
    if signed != statement:
        raise WorkFailedError(
            "the signature is over another statement",
            where=where,
            found=f"sha256:{hashlib.sha256(signed).hexdigest()}",
            expected=f"sha256:{hashlib.sha256(statement).hexdigest()}",
        )


def subjects(files: Iterable[tuple[str, tuple[str, int]]], digest: str) -> list[dict[str, Any]]:
    """The release, under the name of its manifest's file, and files of it by their path."""
    release = descriptor(manifests.FILE, digest.removeprefix("sha256:"))
    return [release, *(descriptor(name, own) for name, (own, _) in sorted(files))]


def descriptor(name: str, sha256: str, **more: Any) -> dict[str, Any]:
    """A resource descriptor of something known by its bytes."""
    return {"name": name, "digest": {"sha256": sha256}, **more}


def places(manifest: Manifest) -> list[tuple[str, str]]:
    """Every model and version, in order."""
    return [
        (model, version)
        for model, entry in sorted(manifest.models.items())
        for version, _ in sorted(entry.versions.items(), key=lambda item: item[1].number)
    ]
