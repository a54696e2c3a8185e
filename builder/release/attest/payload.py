"""What a release's signature says: every file by its sha256, as OpenSSF model signing writes it.

The statement is the one that the `model_signing` command makes of the pulled folder, so either
program verifies what the other one signed. It is made of digests that are known already: no file
is read. Its predicate, https://model_signing/signature/v1.0, names each file as a resource; its
one subject is a sha256 over their digests in order.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.release.attest import statement
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.repository.manifest import Manifest

PREDICATE = "https://model_signing/signature/v1.0"
ALGORITHM = "sha256"
METHOD = "files"

SHOWN = 5
"""Files that a message names at most, of a kind."""

Resources = dict[str, str]
"""File, relative to the repository → sha256, in hex."""


def resources(manifest: Manifest, digest: str) -> Resources:
    """All files of a pulled release, its manifest among them, in model signing's order.

    Raises:
        WorkFailedError: the manifest gives one file two contents.
    """
    found: Resources = {manifests.FILE: digest.removeprefix("sha256:")}
    for name, (sha256, _) in manifest.tree():
        if found.setdefault(name, sha256) != sha256:
            raise WorkFailedError("the manifest gives a file twice", where=name)
    return dict(sorted(found.items(), key=lambda item: PurePosixPath(item[0]).parts))


def encode(name: str, files: Resources) -> bytes:
    """The statement to sign.

    Args:
        name: of the whole, for people; no part of what is proven.
        files: in model signing's order.
    """
    predicate = {
        "serialization": {"method": METHOD, "hash_type": ALGORITHM, "allow_symlinks": False},
        "resources": [
            {"name": file, "algorithm": ALGORITHM, "digest": sha256}
            for file, sha256 in files.items()
        ],
    }
    return statement.encode(PREDICATE, [statement.descriptor(name, _root(files))], predicate)


def statement_of(manifest: Manifest, digest: str) -> bytes:
    """The statement to sign for a release.

    Args:
        manifest: what the release holds.
        digest: its name, `sha256:…`: that of its manifest's bytes.
    """
    return encode(manifest.target, resources(manifest, digest))


def check(signed: bytes, manifest_bytes: bytes, where: str) -> None:
    """Checks that a statement whose signature holds is that of exactly this release.

    Args:
        signed: the statement.
        manifest_bytes: the manifest as it was found.
        where: for messages.

    Raises:
        WorkFailedError: it is another's; says in which files they differ.
    """
    found = decode(signed, where)
    digest = "sha256:" + hashlib.sha256(manifest_bytes).hexdigest()
    same_release(found, digest, where)
    compare(found, resources(manifests.decode(manifest_bytes, where), digest), where)


def decode(content: bytes, where: str) -> Resources:
    """The files of a statement whose signature holds.

    Raises:
        WorkFailedError: it says something else than the sha256 of whole files.
    """
    try:
        value = json.loads(content)
        kind = value["_type"], value["predicateType"]
        if kind != (statement.TYPE, PREDICATE):
            raise _other(where, f"{kind[1]} ({kind[0]})", PREDICATE)
        predicate = value["predicate"]
        serialization = predicate["serialization"]
        hashed = serialization["method"], serialization["hash_type"]
        if hashed != (METHOD, ALGORITHM):
            raise _other(where, f"{hashed[0]} by {hashed[1]}", f"{METHOD} by {ALGORITHM}")
        found = _resources(predicate["resources"], where)
        (subject,) = value["subject"]
        root = subject["digest"][ALGORITHM]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise _other(where, repr(e), "a statement as model_signing writes it") from e
    if root != _root(found):
        raise _other(where, f"sha256 {root} over the files", f"sha256 {_root(found)}")
    return found


def same_release(found: Resources, digest: str, where: str) -> None:
    """Checks that the manifest that was signed is this one.

    Raises:
        WorkFailedError: it is another.
    """
    signed = "sha256:" + found[manifests.FILE] if manifests.FILE in found else "no manifest"
    if signed != digest:
        raise WorkFailedError(
            "the signature is that of something else",
            where=where,
            found=f"a signature of {signed}",
            expected=f"a signature of {digest}",
            fix="fetch the signature of this release; use nothing that is not signed",
        )


def compare(found: Resources, expected: Resources, where: str) -> None:
    """Holds what was signed against what the manifest names.

    Raises:
        WorkFailedError: they differ; the message says in which files.
    """
    if found == expected:
        return
    differences = {
        "not signed": sorted(expected.keys() - found.keys()),
        "signed, not in the manifest": sorted(found.keys() - expected.keys()),
        "signed with other bytes": sorted(
            n for n in expected.keys() & found.keys() if expected[n] != found[n]
        ),
    }
    raise WorkFailedError(
        "what was signed is not what the manifest names",
        where=where,
        found="; ".join(
            f"{label}: {_some(names)}" for label, names in differences.items() if names
        ),
        expected=f"the {len(expected)} files of the release",
    )


def _resources(listed: list[Mapping[str, Any]], where: str) -> Resources:
    found: Resources = {}
    for resource in listed:
        name, algorithm, digest = resource["name"], resource["algorithm"], resource["digest"]
        if algorithm != ALGORITHM:
            raise _other(where, f"{name} by {algorithm}", f"{name} by {ALGORITHM}")
        if not isinstance(name, str) or name in found:
            raise _other(where, f"{name} twice, or no name", "every file once")
        bytes.fromhex(digest)
        found[name] = digest.lower()
    return found


def _root(files: Resources) -> str:
    return hashlib.sha256(b"".join(bytes.fromhex(sha256) for sha256 in files.values())).hexdigest()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _other(where: str, found: str, expected: str) -> WorkFailedError:
    return WorkFailedError(
        "the signature says something else than which files a release holds",
        where=where,
        found=found,
        expected=expected,
    )
