"""Provenance, verdicts and the bill of materials say what the manifest says, in one form."""

import hashlib
import json
from dataclasses import replace

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from in_toto_attestation.v1.statement import Statement
from packageurl import PackageURL

from builder.release.attest.mlbom import mlbom
from builder.release.attest.provenance import provenance
from builder.release.attest.purl import tools
from builder.release.attest.verdicts import verdicts
from builder.repository import manifest as manifests
from tests.release.attest.releases import TOOLCHAIN, release

KINDS = {"provenance": provenance, "verdicts": verdicts, "mlbom": mlbom}


@pytest.fixture
def manifest(tmp_path):
    return release(tmp_path)


def said(make, manifest):
    return json.loads(make(manifest, manifest.digest))


@pytest.mark.parametrize("kind", KINDS)
def test_the_manifest_determines_every_byte(kind, manifest):
    again = manifests.decode(manifest.encode(), "manifest.json")
    shuffled = replace(
        again,
        models={
            name: replace(entry, versions=dict(reversed(entry.versions.items())))
            for name, entry in reversed(again.models.items())
        },
        toolchain=dict(reversed(again.toolchain.items())),
    )
    make = KINDS[kind]
    assert make(shuffled, manifest.digest) == make(manifest, manifest.digest)


@pytest.mark.parametrize("kind", ["provenance", "verdicts"])
def test_statements_are_valid_in_toto(kind, manifest):
    value = said(KINDS[kind], manifest)
    Statement.copy_from_pb(_parsed(value)).validate()
    assert value["subject"][0] == {
        "name": "manifest.json",
        "digest": {"sha256": manifest.digest.removeprefix("sha256:")},
    }


def _parsed(value):
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    return json_format.ParseDict(value, Message())


def test_the_provenance_is_about_every_file(manifest, tmp_path):
    subjects = {s["name"]: s["digest"]["sha256"] for s in said(provenance, manifest)["subject"]}
    files = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob("*") if p.is_file()}
    assert subjects == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items()}


def test_the_provenance_says_what_was_asked_and_with_what_it_was_made(manifest):
    value = said(provenance, manifest)
    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = value["predicate"]["buildDefinition"]
    asked = definition["externalParameters"]
    assert (asked["target"], asked["triton"], asked["device"]) == ("cpu", "24.10", "cpu")
    assert asked["models"]["encoder"] == {
        "spec": {"sha256": manifest.models["encoder"].spec},
        "versions": {"1.0": "fp32", "1.1": "int8"},
    }
    dependencies = {d["name"]: d["uri"] for d in definition["resolvedDependencies"]}
    assert dependencies["torch"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert dependencies["server tritonserver"] == "pkg:generic/tritonserver@2.51.0"
    assert "ruamel.yaml" not in dependencies  # it is not installed: nothing was made with it


def test_a_signature_over_the_provenance_covers_the_rest(manifest):
    named = {
        b["name"]: b["digest"]["sha256"]
        for b in said(provenance, manifest)["predicate"]["runDetails"]["byproducts"]
    }
    for kind in ("verdicts", "mlbom"):
        content = KINDS[kind](manifest, manifest.digest)
        assert named[kind] == hashlib.sha256(content).hexdigest()


def test_every_tool_has_a_package_url_that_others_read():
    for tool in tools(TOOLCHAIN):
        url = PackageURL.from_string(tool.purl)
        assert url.to_string() == tool.purl
        assert (url.name, url.version) == (tool.name, tool.version)


def test_verdicts_pass_with_their_checks_and_their_server(manifest):
    predicate = said(verdicts, manifest)["predicate"]
    assert predicate["result"] == "PASSED"
    assert predicate["failedTests"] == []
    assert "encoder 1.1, goldens" in predicate["passedTests"]
    assert predicate["configuration"][0]["name"] == "tritonserver 2.51.0 (24.10), embedded"


def test_a_version_that_was_not_proven_fails_the_verdicts(tmp_path):
    manifest = release(tmp_path, verdict={"passed": False, "reason": "not validated"})
    predicate = said(verdicts, manifest)["predicate"]
    assert predicate["result"] == "FAILED"
    assert "encoder 1.0, not validated" in predicate["failedTests"]
    assert predicate["passedTests"] == []


@pytest.mark.parametrize("notes", [(), ("untrained weights",)])
def test_the_bill_of_materials_is_valid_cyclonedx(tmp_path, notes):
    manifest = release(tmp_path, notes=notes)
    bom = mlbom(manifest, manifest.digest).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom) is None


def test_the_bill_of_materials_lists_models_files_and_tools(tmp_path):
    manifest = release(tmp_path, notes=("untrained weights",))
    bom = said(mlbom, manifest)
    by_ref = {c["bom-ref"]: c for c in bom["components"]}
    encoder = by_ref["model:encoder@1.1"]
    digest, _ = manifest.models["encoder"].versions["1.1"].files["model.onnx"]
    assert encoder["type"] == "machine-learning-model"
    assert encoder["hashes"] == [{"alg": "SHA-256", "content": digest}]
    limits = encoder["modelCard"]["considerations"]["technicalLimitations"]
    assert limits == ["untrained weights"]
    assert by_ref["file:encoder/config.pbtxt"]["type"] == "file"
    assert by_ref["tool:torch"]["scope"] == "excluded"
    assert by_ref["tool:server onnxruntime"]["scope"] == "required"


def test_an_ensemble_depends_on_its_members(manifest):
    bom = said(mlbom, manifest)
    needs = {d["ref"]: d["dependsOn"] for d in bom["dependencies"]}
    members = {"model:encoder@1.0", "model:encoder@1.1", "model:tokenizer@1.0"}
    assert members <= set(needs["model:text@1.0"])
    refs = {c["bom-ref"] for c in bom["components"]} | {"release"}
    assert {ref for needed in needs.values() for ref in needed} | set(needs) <= refs


def test_serial_numbers_follow_the_release(manifest):
    other = "sha256:" + "1" * 64
    serials = [json.loads(mlbom(manifest, d))["serialNumber"] for d in (manifest.digest, other)]
    assert serials[0] != serials[1]
