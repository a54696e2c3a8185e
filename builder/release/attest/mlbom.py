"""A bill of materials of a release: CycloneDX 1.6, with its models as machine-learning models.

What the manifest does not say is not made up: inputs and outputs, licences, training data. It
names the models that an ensemble calls, not which of their versions: an ensemble depends on all
versions of these, and the dependencies are marked incomplete.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from builder.release.attest import statement
from builder.release.attest.purl import Tool, tools

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.repository.manifest import Manifest, Outputs, VersionEntry

MEDIA_TYPE = "application/vnd.cyclonedx+json"
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
RELEASE = "release"

_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # RFC 4122's, of URLs


def mlbom(manifest: Manifest, digest: str) -> bytes:
    """The bill of materials of a release; its serial number follows from the release's name."""
    serial = uuid.uuid5(_NAMESPACE, f"triton-builder:{digest}")
    chain = list(tools(manifest.toolchain))
    versions = [_version(manifest, model, version) for model, version in statement.places(manifest)]
    files = [
        _file(f"{model}/{name}", content)
        for model, entry in sorted(manifest.models.items())
        for name, content in sorted(entry.files.items())
    ]
    refs = [own["bom-ref"] for own in versions]
    return statement.encoded(
        {
            "$schema": SCHEMA,
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{serial}",
            "version": 1,
            "metadata": _metadata(manifest, digest, chain),
            "components": [*versions, *files, *(_tool(tool) for tool in chain)],
            "dependencies": list(_dependencies(manifest, chain)),
            "compositions": [
                {"aggregate": "complete", "assemblies": [RELEASE]},
                {"aggregate": "incomplete", "dependencies": refs},
            ],
        }
    )


def _metadata(manifest: Manifest, digest: str, chain: list[Tool]) -> dict[str, Any]:
    own = [tool for tool in chain if tool.label == statement.BUILDER]
    return {
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [{**_tool(tool), "bom-ref": "builder"} for tool in own]},
        "component": {
            "type": "application",
            "bom-ref": RELEASE,
            "name": manifest.target,
            "version": digest,
            "hashes": [_hash(digest.removeprefix("sha256:"))],
            "properties": _properties(triton=manifest.triton, device=manifest.device),
        },
    }


def _version(manifest: Manifest, model: str, version: str) -> dict[str, Any]:
    own = manifest.models[model].versions[version]
    paths: Outputs = {f"{model}/{own.number}/{name}": c for name, c in own.files.items()}
    facts = {
        "number": str(own.number),
        "precision": own.precision,
        "spec": f"sha256:{manifest.models[model].spec}",
        "goldens": f"sha256:{own.goldens}",
        **{f"recipe:{name}": value for name, value in own.recipe.items()},
        **_verdict(own),
    }
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": _ref(model, version),
        "name": model,
        "version": version,
        "properties": _properties(**facts),
        "components": [_file(path, content) for path, content in sorted(paths.items())],
    }
    if len(own.files) == 1:  # then the model is that file
        component["hashes"] = component["components"][0]["hashes"]
    if own.notes:
        component["modelCard"] = {"considerations": {"technicalLimitations": list(own.notes)}}
    return component


def _verdict(own: VersionEntry) -> dict[str, str]:
    if own.verdict.get("passed") is True:
        return {"verdict": "passed", "verdict:server": str(own.verdict.get("server", ""))}
    return {"verdict": str(own.verdict.get("reason", "not proven"))}


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "type": "library" if tool.purl.startswith("pkg:pypi/") else "application",
        "bom-ref": f"tool:{tool.label}",
        "name": tool.name,
        "version": tool.version,
        "purl": tool.purl,
        "scope": "required" if tool.serves else "excluded",
    }


def _dependencies(manifest: Manifest, chain: list[Tool]) -> Iterator[dict[str, Any]]:
    """The release needs its versions; each of these its model's settings and the server."""
    places = statement.places(manifest)
    server = [f"tool:{tool.label}" for tool in chain if tool.serves]
    yield {"ref": RELEASE, "dependsOn": sorted(_ref(*place) for place in places)}
    for model, version in places:
        entry = manifest.models[model]
        settings = [f"file:{model}/{name}" for name in entry.files]
        members = [_ref(*place) for place in places if place[0] in entry.members]
        yield {"ref": _ref(model, version), "dependsOn": sorted([*settings, *members, *server])}


def _ref(model: str, version: str) -> str:
    return f"model:{model}@{version}"


def _file(path: str, content: tuple[str, int]) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{path}",
        "name": path,
        "hashes": [_hash(content[0])],
        "properties": _properties(size=str(content[1])),
    }


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}


def _properties(**values: str) -> list[dict[str, str]]:
    return [{"name": f"triton-builder:{n}", "value": v} for n, v in sorted(values.items())]
