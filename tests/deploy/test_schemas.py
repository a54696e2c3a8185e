"""Everything that can be made is what Kubernetes takes, of every version in use."""

import jsonschema
import kubernetes_validate
import pytest
import yaml

from builder.deploy import manifests
from tests.deploy.cluster import kustomize
from tests.deploy.crds import SCHEMAS
from tests.deploy.made import CPU, GPU, KEY, context, pod

VERSIONS = ("1.30", "1.34", "1.37")
"""The oldest that clouds still run, one between, and the newest of November 2026."""

SCALED = {"min": 2, "max": 8}
VARIANTS = {
    "plain": {},
    "channel": {"channel": "prod", "volume": "memory", "namespace": "serving"},
    "agent": {
        "channel": "prod",
        "agent": True,
        "monitor": "pod",
        "credentials": "model-store",
        "environment": {"AWS_REGION": "eu-central-1"},
        "service-account": "triton",
        "image-pull-secrets": ["registry"],
        "node-cache": "/var/cache/triton",
        "replicas": {**SCALED, "scale-on": "queue", "prometheus": "http://prometheus:9090"},
    },
    "keyless": {"verify-identity": "ci@example.com", "verify-issuer": "https://issuer.example"},
    "lanes": {
        "monitor": "service",
        "replicas": {**SCALED, "scale-on": "cpu"},
        "access": {"clients": ["web", "batch"]},
        "lanes": {
            "text": {"models": ["minilm"], "resources": {"cpu": "500m", "memory": "1GiB"}},
            "vision": {"models": ["resnet50"], "replicas": {"min": 1}},
        },
    },
}
OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: serving
resources: [base]
labels:
  - pairs: {team: search}
images:
  - {name: nvcr.io/nvidia/tritonserver, newName: mirror.example/tritonserver, digest: "sha256:0a"}
patches:
  - target: {kind: Deployment}
    patch: |
      - op: add
        path: /spec/template/spec/tolerations
        value: [{key: inference, operator: Exists}]
  - target: {kind: Deployment}
    patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: any}
      spec: {template: {spec: {containers: [{name: triton, resources: {requests: {cpu: "8"}}}]}}}
"""


def _objects(said, target):
    files = manifests.files(context(said, target=target, verify_key=KEY))
    for name, content in files.items():
        if name != manifests.KUSTOMIZATION:
            yield from yaml.safe_load_all(content)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_kubernetes_takes_every_field(variant, version):
    seen = set()
    for target in (CPU, GPU):
        for made in _objects(VARIANTS[variant], target):
            if made["kind"] not in SCHEMAS:
                kubernetes_validate.validate(made, version, strict=True)
                seen.add(made["kind"])
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "ConfigMap"} <= seen


@pytest.mark.parametrize("variant", ["agent", "lanes"])
def test_operators_take_every_field(variant):
    seen = set()
    for made in _objects(VARIANTS[variant], CPU):
        if made["kind"] in SCHEMAS:
            jsonschema.validate(made, SCHEMAS[made["kind"]])
            seen.add(made["kind"])
    assert seen == {"agent": {"ScaledObject", "PodMonitor"}, "lanes": {"ServiceMonitor"}}[variant]


def test_a_wrong_field_would_be_seen():
    (deployment,) = [m for m in _objects({}, CPU) if m["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["period"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_kustomize_gives_what_was_written(variant, tmp_path):
    manifests.write(context(VARIANTS[variant]), tmp_path)
    made = {(m["kind"], m["metadata"]["name"]): m for m in kustomize(tmp_path)}
    written = manifests.objects(context(VARIANTS[variant]))
    assert made == {(m["kind"], m["metadata"]["name"]): m for m in written}


def test_an_overlay_changes_what_it_says_and_nothing_else(tmp_path):
    manifests.write(context(), tmp_path / "base")
    (tmp_path / "kustomization.yaml").write_text(OVERLAY)
    made = {m["kind"]: m for m in kustomize(tmp_path)}
    assert {m["metadata"]["namespace"] for m in made.values()} == {"serving"}
    spec = made["Deployment"]["spec"]["template"]["spec"]
    (triton,) = spec["containers"]
    assert triton["image"] == "mirror.example/tritonserver@sha256:0a"
    assert triton["resources"]["requests"]["cpu"] == "8"
    assert triton["startupProbe"]["exec"]["command"][-1] == "/models/repository"
    assert spec["tolerations"] == [{"key": "inference", "operator": "Exists"}]
    assert spec["volumes"] == pod()["volumes"]
