"""Manifests for tests, out of repositories that were written by hand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from builder.deploy import manifests
from builder.deploy.settings import Deployment
from builder.report.measured import Measured
from builder.repository.manifest import Manifest, ModelEntry, VersionEntry
from builder.spec.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

CPU = Target(triton="24.10", device="cpu")
GPU = Target(
    triton="24.10",
    device="gpu",
    server="container",
    image="registry.example/tritonserver:24.10-py3",
    formats=("tensorrt", "onnx", "python"),
    compute_capabilities=("8.0", "8.9"),
)
SAID = {"pull-image": "registry.example/pull:1"}
STORE = "s3://bucket/models"
KEY = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"


def release(models: Mapping[str, int], members: Mapping[str, list[str]] | None = None) -> Manifest:
    """A repository's manifest: bytes by model."""
    entries = {}
    for name, size in models.items():
        files = {"model.onnx": (hashlib.sha256(name.encode()).hexdigest(), size)}
        version = VersionEntry(1000000, "fp32", files, "0" * 64, {}, [], {"passed": True})
        entries[name] = ModelEntry("0" * 64, {}, {"1.0": version}, (members or {}).get(name, []))
    return Manifest("cpu", "24.10", "cpu", {}, entries)


TWO = release({"minilm": 90_000_000, "resnet50": 100_000_000})


def context(
    said: Mapping[str, Any] | None = None,
    *,
    manifest: Manifest = TWO,
    target: Target = CPU,
    measured: Measured | None = None,
    store: str = STORE,
    verify_key: str | None = None,
    trust_config: str | None = None,
) -> manifests.Context:
    """What manifests are made from."""
    settings = Deployment.model_validate({**SAID, **(said or {})})
    measured = measured or Measured()
    trusted = {"verify_key": verify_key, "trust_config": trust_config}
    return manifests.context(manifest, target, settings, measured, store=store, **trusted)


def objects(*arguments: Any, **others: Any) -> dict[str, Any]:
    """Manifests by kind and name: `Deployment/triton-cpu`."""
    found = manifests.objects(context(*arguments, **others))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


def pod(*arguments: Any, **others: Any) -> dict[str, Any]:
    """The spec of the only Deployment's pods."""
    kinds = objects(*arguments, **others)
    (deployment,) = [one for name, one in kinds.items() if name.startswith("Deployment/")]
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec
