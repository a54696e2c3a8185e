"""A Job that proves a target's models beside a Triton of its own, for CI without its hardware.

Two containers share a folder: Triton loads on request what the build lays out there. The build's
actions come out of the remote cache, and its verdicts go into it: a build anywhere else then has
them, and nothing left to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.deploy.pod import GRPC, HARDENED, HTTP, METRICS, NOBODY, capable
from builder.deploy.quantities import cores, size
from builder.errors import InputError
from builder.triton.releases import release

if TYPE_CHECKING:
    from builder.deploy.context import Object
    from builder.deploy.settings import Deployment
    from builder.spec.target import Target

SHARED, CACHE, PROJECT = "/models", "/cache", "/project"
"""Where both have what is proven; where the build has its cache; the project, in its image."""

STARTING = 120
"""Times of 5 s that Triton may take until it answers: its image may have to start a GPU."""

LASTS = 2 * 3600
KEPT = 24 * 3600
"""Seconds that the Job may take, and that it is kept afterwards, to be read."""


def job(
    name: str, target: Target, settings: Deployment, image: str, remote_cache: str | None
) -> Object:
    """The Job.

    Args:
        name: the target's.
        target: proven on a server = "remote": the one in this Job.
        settings: what a deployment shall be, as far as a Job has it: namespace, credentials,
            environment, service account, secrets of images, Triton's image and resources.
        image: has the project in /project, and triton-builder[build].
        remote_cache: where results come from, and verdicts go.

    Raises:
        InputError: the target is proven elsewhere, or there is no remote cache.
    """
    if target.server != "remote":
        raise InputError(
            "the target is not proven on a remote server",
            where=f"pyproject.toml [tool.triton-builder.targets.{name}]",
            found=f'server = "{target.server}"',
            expected='server = "remote"',
            fix='set server = "remote": in the Job, that is the Triton beside the build',
        )
    if remote_cache is None or remote_cache.startswith("file:"):
        raise InputError(
            "the Job's verdicts would be lost with its pod",
            where="pyproject.toml [tool.triton-builder] remote-cache",
            found=remote_cache or "no remote cache",
            expected="one that the Job and the builds after it reach: s3://, gs:// or az://",
            fix='set remote-cache = "s3://BUCKET/PREFIX"',
        )
    metadata: Object = {
        "name": f"validate-{name.lower().replace('_', '-')}",
        "labels": {
            "app.kubernetes.io/component": "validation",
            "app.kubernetes.io/managed-by": "triton-builder",
        },
    }
    if settings.namespace:
        metadata["namespace"] = settings.namespace
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,  # what failed would fail again, and the first log tells why
            "activeDeadlineSeconds": LASTS,
            "ttlSecondsAfterFinished": KEPT,
            "template": {
                "metadata": {"labels": metadata["labels"]},
                "spec": _pod(name, target, settings, image, remote_cache),
            },
        },
    }


def _pod(name: str, target: Target, settings: Deployment, image: str, remote_cache: str) -> Object:
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": NOBODY,
        "initContainers": [_triton(target, settings)],
        "containers": [_build(name, settings, image, remote_cache)],
        "volumes": [
            {"name": "models", "emptyDir": {}},
            {"name": "cache", "emptyDir": {}},
            {"name": "repository", "emptyDir": {}},
            {
                "name": "shared-memory",
                "emptyDir": {
                    "medium": "Memory",
                    "sizeLimit": size(settings.resources.shared_memory),
                },
            },
            {"name": "tmp", "emptyDir": {}},
        ],
    }
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    affinity = capable(target.compute_capabilities)
    if target.device == "gpu" and affinity:
        spec["affinity"] = affinity
    return spec


def _triton(target: Target, settings: Deployment) -> Object:
    """A sidecar (an initContainer that is started anew): it ends when the build has."""
    options = [
        f"--model-repository={SHARED}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        f"--http-port={HTTP}",
        f"--grpc-port={GRPC}",
        f"--metrics-port={METRICS}",
        "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1",
        "--metrics-address=127.0.0.1",
        "--backend-config=python,stub-timeout-seconds=120",
        "--log-verbose=1",
    ]
    resources: Object = {"requests": {"cpu": cores(settings.resources.cpu)}}
    if settings.resources.memory:
        resources["requests"]["memory"] = size(settings.resources.memory)
        resources["limits"] = {"memory": size(settings.resources.memory)}
    if target.device == "gpu":
        resources.setdefault("limits", {})["nvidia.com/gpu"] = settings.resources.gpus
    live = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{HTTP}/v2/health/live')"
    return {
        "name": "triton",
        "image": settings.image or target.image or release(target.triton).images["py3"],
        "restartPolicy": "Always",
        "args": ["tritonserver", *options],
        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - a volume's
        # asked from inside: it listens on the pod's own address for nobody else
        "startupProbe": {
            "exec": {"command": ["python3", "-c", live]},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": STARTING,
        },
        "resources": resources,
        "securityContext": HARDENED,
        "volumeMounts": [
            {"name": "models", "mountPath": SHARED, "readOnly": True},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - a volume's
            {"name": "tmp", "mountPath": "/tmp", "subPath": "triton"},  # noqa: S108 - likewise
        ],
    }


def _build(name: str, settings: Deployment, image: str, remote_cache: str) -> Object:
    said = {
        **settings.environment,
        "HOME": "/tmp",  # noqa: S108 - a volume's
        "TRITON_BUILDER_CACHE": CACHE,
        "TRITON_BUILDER_REMOTE_CACHE": remote_cache,
        "TRITON_BUILDER_SERVER_REPOSITORY": SHARED,
        "TRITON_BUILDER_SERVER_URL": f"http://127.0.0.1:{HTTP} grpc://127.0.0.1:{GRPC}",
    }
    found: Object = {
        "name": "build",
        "image": image,
        "command": ["triton-builder", "-C", PROJECT, "build", "--target", name],
        "env": [{"name": key, "value": value} for key, value in sorted(said.items())],
        "securityContext": HARDENED,
        "volumeMounts": [
            {"name": "models", "mountPath": SHARED},
            {"name": "cache", "mountPath": CACHE},
            {"name": "repository", "mountPath": f"{PROJECT}/repository"},
            {"name": "tmp", "mountPath": "/tmp", "subPath": "build"},  # noqa: S108 - a volume's
        ],
    }
    if settings.credentials:
        found["envFrom"] = [{"secretRef": {"name": settings.credentials}}]
    return found
