"""Kubernetes manifests of a release: one file a kind, and a kustomization that names them.

Equal inputs give equal bytes. What is in them, and why, is told in docs/kubernetes.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from builder.deploy import bundle, lanes, network, pod, workload
from builder.deploy.context import Context
from builder.errors import InputError
from builder.files import disk_errors, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.deploy.context import Object
    from builder.deploy.lanes import Pods
    from builder.deploy.settings import Deployment
    from builder.report.measured import Measured
    from builder.repository.manifest import Manifest
    from builder.spec.target import Target

KUSTOMIZATION = "kustomization.yaml"
HEADER = "# Written by `triton-builder manifests`: change it by overlays, not here.\n"
LONGEST = 52
"""Characters of a name: Kubernetes adds eleven for pods, and takes 63."""


def context(  # noqa: PLR0913 - all that manifests are made from
    manifest: Manifest,
    target: Target,
    settings: Deployment,
    measured: Measured,
    *,
    store: str,
    verify_key: str | None = None,
    trust_config: str | None = None,
) -> Context:
    """Puts together what manifests are made from, with defaults for what was not said.

    Args:
        manifest: of the repository that is released.
        target: that it was built for.
        settings: what the deployment shall be.
        measured: what its build measured.
        store: where releases are.
        verify_key: the public key that they must be signed with, PEM.
        trust_config: of the Sigstore that knows who signed them, where it is not the public one.

    Raises:
        InputError: no image that pulls is named, or a name would be too long.
    """
    if settings.pull_image is None:
        raise InputError(
            "no image is named that pulls releases",
            where="pull-image",
            expected="an image of your registry with triton-builder[agent] in it",
            fix="build one with builder/deploy/Containerfile, see docs/kubernetes.md",
        )
    plain = re.sub(r"[^a-z0-9]+", "-", manifest.target.lower()).strip("-")
    name = settings.name or f"triton-{plain}"
    for lane in ("", *settings.lanes):
        whole = f"{name}-{lane}".rstrip("-")
        if len(whole) > LONGEST:
            raise InputError(
                "the name of the deployment is too long",
                where=f"lanes.{lane}" if lane else "name",
                found=whole,
                expected=f"at most {LONGEST} characters",
                fix="set a shorter name in the settings",
            )
    return Context(
        name,
        target,
        manifest,
        settings,
        measured,
        store,
        settings.image or target.image or f"nvcr.io/nvidia/tritonserver:{manifest.triton}-py3",
        settings.pull_image,
        verify_key,
        trust_config,
    )


def objects(context: Context) -> list[Object]:
    """All manifests, in the order in which they may be applied.

    Raises:
        InputError: lanes do not fit the release.
    """
    found = [_asking(context)]
    if context.verify_key is not None:
        found.append(_file(context, pod.verify_key_name(context), pod.KEY, context.verify_key))
    if context.trust_config is not None:
        name = pod.trust_config_name(context)
        found.append(_file(context, name, pod.TRUST_CONFIG, context.trust_config))
    for pods in lanes.pods(context.manifest, context.settings, context.name):
        found += _of(context, pods)
    return found


def files(context: Context) -> dict[str, bytes]:
    """The same as files: `deployment.yaml` holds all Deployments, and so on."""
    kinds: dict[str, list[Object]] = {}
    for one in objects(context):
        kinds.setdefault(f"{one['kind'].lower()}.yaml", []).append(one)
    found = {name: dump(*group) for name, group in kinds.items()}
    kustomization: Object = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(found),
    }
    return {**found, KUSTOMIZATION: dump(kustomization)}


def write(context: Context, folder: Path) -> list[str]:
    """Writes the files into a folder; gives the names of those that changed.

    Files that this command wrote before and that are no longer among them are removed. Others are
    left alone.

    Raises:
        InputError: lanes do not fit the release, or a file is in the way.
    """
    return put(files(context), folder)


def put(wanted: Mapping[str, bytes], folder: Path) -> list[str]:
    """The same for files that somebody else has made."""
    changed = []
    with disk_errors(folder):
        for path in sorted(folder.glob("*.yaml")):
            if path.name not in wanted and path.read_bytes().startswith(HEADER.encode()):
                path.unlink()
                changed.append(path.name)
        for name, content in wanted.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                write_atomically(path, content)
                changed.append(name)
    return sorted(changed)


def _of(context: Context, pods: Pods) -> list[Object]:
    found = [
        network.policy(context, pods),
        network.service(context, pods),
        workload.deployment(context, pods),
        workload.disruption_budget(context, pods),
        workload.scaler(context, pods),
        network.monitor(context, pods),
    ]
    return [one for one in found if one is not None]


def _asking(context: Context) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": context.metadata(pod.asking_name(context), context.name),
        "immutable": True,
        "data": bundle.files(),
    }


def _file(context: Context, name: str, file: str, content: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": context.metadata(name, context.name),
        "data": {file: content},
    }


class _Dumper(yaml.SafeDumper):
    """Text of many lines as a block, and nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        """Manifests repeat themselves: an alias would make one place of two."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def dump(*values: Object) -> bytes:
    """Objects as one file."""
    text = yaml.dump_all(
        values,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1000,
        explicit_start=len(values) > 1,
    )
    return (HEADER + text).encode()
