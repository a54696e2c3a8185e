"""Where a release comes from, as SLSA says it: https://slsa.dev/provenance/v1.

Its subjects are all files of the release, and the release itself. Its by-products name the
verdicts and the bill of materials by their digests, so a signature over the provenance covers
these too. What varies from run to run is left out: the manifest determines every byte.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from builder.release.attest import mlbom, statement
from builder.release.attest.purl import tools
from builder.release.attest.verdicts import verdicts

if TYPE_CHECKING:
    from builder.repository.manifest import Manifest

PREDICATE = "https://slsa.dev/provenance/v1"

BUILD_TYPE = "pkg:pypi/triton-builder#docs/attestations.md"
"""What the parameters mean: the page of this project's documentation that says so."""


def provenance(manifest: Manifest, digest: str) -> bytes:
    """The provenance of a release.

    Args:
        manifest: what the release holds.
        digest: its name, `sha256:…`.
    """
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": _asked(manifest),
            "internalParameters": {"recipes": _recipes(manifest)},
            "resolvedDependencies": [
                {"name": tool.label, "uri": tool.purl} for tool in tools(manifest.toolchain)
            ],
        },
        "runDetails": {
            "builder": {
                "id": f"pkg:pypi/{statement.BUILDER}",
                "version": {statement.BUILDER: manifest.toolchain.get(statement.BUILDER, "")},
            },
            "byproducts": _byproducts(manifest, digest),
        },
    }
    return statement.encode(PREDICATE, statement.subjects(manifest.tree(), digest), predicate)


def _asked(manifest: Manifest) -> dict[str, Any]:
    """What the author wrote: the target, and specs by the digest of what they say."""
    return {
        "target": manifest.target,
        "triton": manifest.triton,
        "device": manifest.device,
        "models": {
            model: {
                "spec": {"sha256": entry.spec},
                "versions": {name: own.precision for name, own in entry.versions.items()},
            }
            for model, entry in manifest.models.items()
        },
    }


def _recipes(manifest: Manifest) -> dict[str, dict[str, str]]:
    """What the builder chose: the way of each export, the recipe of each quantisation."""
    found = {}
    for model, version in statement.places(manifest):
        recipe = manifest.models[model].versions[version].recipe
        if recipe:
            found[f"{model} {version}"] = recipe
    return found


def _byproducts(manifest: Manifest, digest: str) -> list[dict[str, Any]]:
    goldens = [
        statement.descriptor(
            f"{model} {version}, goldens", manifest.models[model].versions[version].goldens
        )
        for model, version in statement.places(manifest)
    ]
    said = (
        ("verdicts", statement.MEDIA_TYPE, verdicts(manifest, digest)),
        ("mlbom", mlbom.MEDIA_TYPE, mlbom.mlbom(manifest, digest)),
    )
    return [
        *(
            statement.descriptor(name, hashlib.sha256(content).hexdigest(), mediaType=media)
            for name, media, content in said
        ),
        *goldens,
    ]
