"""The documents around the layers, as OCI's image-spec 1.1 and ModelPack's model-spec say. Pure.

One index names three manifests over the same layers: an OCI image for amd64 and one for arm64,
which container engines pull and mount, and a ModelPack artifact, which model tools pull. In the
index this one has the platform `unknown`, so that engines pass over it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.release.attest.attestations import MEDIA_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.repository.manifest import Manifest

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
MODEL = "application/vnd.cncf.model.manifest.v1+json"
MODEL_CONFIG = "application/vnd.cncf.model.config.v1+json"
MODEL_LAYER = "application/vnd.cncf.model.{kind}.v1.tar"
MODEL_PATH = "org.cncf.model.filepath"

PLATFORMS = ("amd64", "arm64")
"""Where images are mounted; the layers are the same."""

PRECISIONS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"


@dataclass(frozen=True)
class Packed:
    """A layer, with what its archive came to."""

    path: str
    kind: str
    digest: str
    size: int


@dataclass(frozen=True)
class Document:
    """Something small that a destination keeps by its digest."""

    media_type: str
    content: bytes
    artifact_type: str = ""

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the bytes."""
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """How others name it."""
        kind = {"artifactType": self.artifact_type} if self.artifact_type else {}
        return {**described(self.media_type, self.digest, len(self.content)), **kind, **more}


@dataclass(frozen=True)
class Documents:
    """All that a release is in OCI, beside its layers.

    Attributes:
        configs: what manifests name as blobs.
        manifests: what the index names.
        model: the one of these that is the ModelPack artifact.
        index: the whole.
    """

    configs: tuple[Document, ...]
    manifests: tuple[Document, ...]
    model: Document
    index: Document


def documents(manifest: Manifest, release: str, layers: Sequence[Packed]) -> Documents:
    """The documents of a release.

    Args:
        manifest: what it holds.
        release: its name, `sha256:…`.
        layers: in the order in which they are unpacked.
    """
    notes = shown(manifest, release)
    images, configs, named = [], [], []
    for architecture in PLATFORMS:
        config = _image_config(architecture, notes, layers)
        parts = [described(IMAGE_LAYER, layer.digest, layer.size) for layer in layers]
        image = _manifest(config, parts, notes)
        configs.append(config)
        images.append(image)
        named.append(image.descriptor(platform={"architecture": architecture, "os": "linux"}))
    config = _model_config(manifest, release, layers)
    parts = [
        described(
            MODEL_LAYER.format(kind=layer.kind),
            layer.digest,
            layer.size,
            annotations={MODEL_PATH: layer.path},
        )
        for layer in layers
    ]
    model = _manifest(config, parts, notes, artifactType=MODEL)
    named.append(model.descriptor(platform={"architecture": "unknown", "os": "unknown"}))
    index = _document(
        INDEX,
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": named, "annotations": notes},
    )
    return Documents((*configs, config), (*images, model), model, index)


def shown(manifest: Manifest, release: str) -> dict[str, str]:
    """What tools show of a release: OCI's annotations."""
    return {
        TITLE: f"Triton model repository for {manifest.target}",
        VERSION: release.removeprefix("sha256:")[:12],
        "triton-builder.release": release,
        "triton-builder.target": manifest.target,
        "triton-builder.triton": manifest.triton,
    }


def attachment(kind: str, content: bytes, subject: Document) -> tuple[Document, Document, Document]:
    """Something attested of a release.

    Returns:
        an empty configuration and the blob, and the manifest over them that refers to the release.
    """
    media_type = MEDIA_TYPES[kind]
    config, blob = Document(EMPTY, b"{}"), Document(media_type, content)
    notes = {TITLE: f"{kind}.json"}
    return (
        config,
        blob,
        _manifest(
            config,
            [blob.descriptor(annotations=notes)],
            notes,
            artifactType=media_type,
            subject=subject.descriptor(),
        ),
    )


def described(media_type: str, digest: str, length: int, **more: Any) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": media_type, "digest": digest, "size": length, **more}


def encoded(value: Mapping[str, Any]) -> bytes:
    """JSON in one form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _image_config(
    architecture: str, notes: Mapping[str, str], layers: Sequence[Packed]
) -> Document:
    digests = [layer.digest for layer in layers]
    return _document(
        IMAGE_CONFIG,
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": notes},
            "rootfs": {"type": "layers", "diff_ids": digests},
        },
    )


def _model_config(manifest: Manifest, release: str, layers: Sequence[Packed]) -> Document:
    precisions = {
        PRECISIONS.get(own.precision, own.precision)
        for entry in manifest.models.values()
        for own in entry.versions.values()
    }
    return _document(
        MODEL_CONFIG,
        {
            "descriptor": {
                "name": manifest.target,
                "version": release.removeprefix("sha256:")[:12],
                "title": shown(manifest, release)[TITLE],
                "revision": release,
            },
            "config": {"format": "triton", "precision": ",".join(sorted(precisions))},
            "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
        },
    )


def _manifest(
    config: Document, layers: Sequence[Mapping[str, Any]], notes: Mapping[str, str], **more: Any
) -> Document:
    value = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": layers,
        "annotations": notes,
        **more,
    }
    return Document(MANIFEST, encoded(value), more.get("artifactType", ""))


def _document(media_type: str, value: Mapping[str, Any]) -> Document:
    return Document(media_type, encoded(value))
