"""A real registry: what goes there, and what comes back by another client."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from builder.errors import WorkFailedError
from builder.release.attest.attestations import attestations
from builder.release.oci.push import Options, push
from builder.release.oci.reference import parse
from builder.release.oci.registry import Registry
from tests.release.attest.releases import release
from tests.release.oci.pushes import at, copied, files, tags
from tests.release.oci.registry import skopeo
from tests.stores.faults import Fault

pytest_plugins = ["tests.release.oci.fixture"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_home")]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.mark.parametrize("suffix", ["v1", "v1-modelpack"])
def test_another_client_brings_the_repository_back(tmp_path, registry, cpu, suffix):
    cpu.push(registry.host)
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:{suffix}") == files(cpu.folder)


def test_the_tag_names_the_digest_that_was_told(registry, cpu):
    done = cpu.push(registry.host)
    raw = skopeo(
        "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/{cpu.name}:v1"
    ).encode()
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == done.digest
    skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/{cpu.name}@{done.digest}")
    every = ("--override-arch", "arm64", "inspect", "--tls-verify=false")
    labels = json.loads(skopeo(*every, f"docker://{registry.host}/{cpu.name}:v1"))["Labels"]
    assert labels["triton-builder.release"] == cpu.manifest.digest


def test_a_folder_and_a_registry_give_the_same_digest(tmp_path, registry, cpu):
    there = cpu.push(registry.host)
    here = push(cpu.folder, cpu.manifest.encode(), str(tmp_path / "layout"), Options())
    assert (here.digest, here.model) == (there.digest, there.model)


def test_a_second_push_uploads_nothing(proxy, cpu):
    said = attestations(cpu.manifest, cpu.manifest.digest)
    one = cpu.push(at(proxy), attached=said)
    proxy.requests.clear()
    two = cpu.push(at(proxy), attached=said)
    assert {request.split()[0] for request in proxy.requests} <= {"GET", "HEAD"}
    assert (two.digest, two.layers, two.uploaded, two.new) == (one.digest, 0, 0, False)
    assert (one.layers, one.uploaded, one.new) == (8, one.size, True)


def test_a_change_of_one_model_uploads_its_layers(tmp_path, registry, proxy, cpu):
    cpu.push(at(proxy))
    proxy.requests.clear()
    cpu.change()
    done = cpu.push(at(proxy))
    assert done.layers == 2  # the new version, and the manifest
    blobs = [r for r in proxy.requests if r.startswith("PUT") and "/blobs/" in r]
    assert len(blobs) == 2 + 3  # with the three configurations
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:v1") == files(cpu.folder)


def test_a_tag_moves_and_its_old_digest_stays(tmp_path, registry, cpu):
    one, before = cpu.push(registry.host), files(cpu.folder)
    cpu.change()
    assert cpu.push(registry.host).digest != one.digest
    assert copied(tmp_path, f"{registry.host}/{cpu.name}@{one.digest}") == before


def test_what_is_attested_is_found_beside_the_release(registry, cpu):
    said = attestations(cpu.manifest, cpu.manifest.digest)
    done = cpu.push(registry.host, attached=said)
    tag = done.digest.replace(":", "-")  # this registry is from before OCI 1.1
    listed = json.loads(registry.get(f"{cpu.name}/manifests/{tag}", INDEX))["manifests"]
    found = {}
    for entry in listed:
        value = json.loads(registry.get(f"{cpu.name}/manifests/{entry['digest']}", MANIFEST))
        assert value["subject"]["digest"] == done.digest
        (layer,) = value["layers"]
        title = layer["annotations"]["org.opencontainers.image.title"]
        found[title.removesuffix(".json")] = registry.get(f"{cpu.name}/blobs/{layer['digest']}")
    assert found == said


def test_a_registry_that_lists_referrers_itself_gets_no_tag_for_them(registry, proxy, cpu):
    proxy.faults = [Fault("refuse", "/referrers/", status=200)]  # as OCI 1.1 registries answer
    done = cpu.push(at(proxy), attached={"mlbom": b"{}"})
    assert done.digest.replace(":", "-") not in tags(registry, cpu.name)
    assert f"GET /v2/{cpu.name}/referrers/{done.digest}" in proxy.requests


def test_others_referrers_stay_listed(registry, cpu):
    done = cpu.push(registry.host, attached={"mlbom": b"{}"})
    cpu.push(registry.host, attached={"verdicts": b"{}"})
    tag = done.digest.replace(":", "-")
    assert len(json.loads(registry.get(f"{cpu.name}/manifests/{tag}", INDEX))["manifests"]) == 2


def test_other_bytes_than_their_digest_are_refused(registry):
    there = Registry(parse(f"{registry.host}/wrong"), print)
    digest = "sha256:" + "0" * 64
    with pytest.raises(WorkFailedError, match="DIGEST_INVALID"):
        there.put(digest, 4, [b"evil"])
    assert not there.has(digest, 4)


def test_a_file_that_changes_meanwhile_does_not_go(registry, cpu):
    weights = {"1000000/model.onnx": b"w" * 2_000_000}
    cpu.manifest = release(cpu.folder, {"encoder": weights})

    def say(line):
        if line.startswith("encoder/1000000"):
            (cpu.folder / "encoder" / "1000000" / "model.onnx").write_bytes(b"x" * 2_000_000)

    with pytest.raises(WorkFailedError, match="not as it was built"):
        cpu.push(registry.host, say=say)
    assert tags(registry, cpu.name) == []


def test_memory_stays_small_whatever_the_size(tmp_path, registry):
    large = {f"{n}000000/weights.bin": bytes([n]) * (192 << 20) for n in (1, 2)}
    release(tmp_path / "large", {"large": {"config.pbtxt": b"", **large}})
    script = f"""
import resource
from pathlib import Path
from builder.release.oci.push import Options, push
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = Path({str(tmp_path / "large")!r})
done = push(folder, (folder / "manifest.json").read_bytes(), "{registry.host}/large", Options())
assert done.uploaded > {384 << 20}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10  # KiB
