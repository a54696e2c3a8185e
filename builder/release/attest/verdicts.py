"""What was proven of a release, as an in-toto test result.

The predicate is https://in-toto.io/attestation/test-result/v0.1: the checks that each version
passed, on which server and against which goldens. A version without a passing verdict makes the
whole result `FAILED` and is named among the failed tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.release.attest import statement
from builder.release.attest.purl import SERVER, Tool

if TYPE_CHECKING:
    from builder.repository.manifest import Manifest

PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"


def verdicts(manifest: Manifest, digest: str) -> bytes:
    """The verdicts of a release as a statement about its versions' files and itself."""
    passed: list[str] = []
    failed: list[str] = []
    servers: set[str] = set()
    goldens: list[dict[str, Any]] = []
    files = []
    for model, version in statement.places(manifest):
        own = manifest.models[model].versions[version]
        files += [(f"{model}/{own.number}/{name}", content) for name, content in own.files.items()]
        goldens.append(statement.descriptor(f"{model} {version}, goldens", own.goldens))
        if own.verdict.get("passed") is True:
            passed += [f"{model} {version}, {check}" for check in own.verdict.get("checks", ())]
            servers.add(str(own.verdict.get("server", "")))
        else:
            failed.append(f"{model} {version}, {own.verdict.get('reason', 'not proven')}")
    predicate = {
        "result": "FAILED" if failed else "PASSED",
        "configuration": [*_servers(manifest, servers), *goldens],
        "passedTests": passed,
        "warnedTests": [],
        "failedTests": failed,
    }
    return statement.encode(PREDICATE, statement.subjects(files, digest), predicate)


def _servers(manifest: Manifest, names: set[str]) -> list[dict[str, Any]]:
    version = manifest.toolchain.get(f"{SERVER}tritonserver", manifest.triton)
    uri = Tool(f"{SERVER}tritonserver", version).purl
    return [{"name": name, "uri": uri} for name in sorted(names)]
