"""The documents are what OCI's and ModelPack's specifications ask for, and nothing varies."""

import json
from dataclasses import replace

import pytest

from builder.release.oci.documents import Packed, attachment, documents
from tests.release.attest.releases import release

LAYERS = [
    Packed("encoder", "weight.config", "sha256:" + "a" * 64, 2048),
    Packed("encoder/1000000", "weight", "sha256:" + "b" * 64, 4096),
    Packed("manifest.json", "doc", "sha256:" + "c" * 64, 2048),
]
MODEL_LAYERS = [
    "application/vnd.cncf.model.weight.config.v1.tar",
    "application/vnd.cncf.model.weight.v1.tar",
    "application/vnd.cncf.model.doc.v1.tar",
]


@pytest.fixture
def manifest(tmp_path):
    return release(tmp_path)


@pytest.fixture
def made(manifest):
    return documents(manifest, manifest.digest, LAYERS)


def read(document):
    return json.loads(document.content)


def test_the_same_release_has_the_same_digest(manifest, made):
    shuffled = replace(manifest, models=dict(reversed(manifest.models.items())))
    again = documents(shuffled, manifest.digest, list(LAYERS))
    assert again.index.digest == made.index.digest
    assert not any(word in d.content for d in made.manifests for word in (b"created", b"202"))


def test_the_index_names_an_image_for_each_platform_and_the_artifact(made):
    index = read(made.index)
    platforms = [(m["platform"]["os"], m["platform"]["architecture"]) for m in index["manifests"]]
    assert platforms == [("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown")]
    assert [m["digest"] for m in index["manifests"]] == [m.digest for m in made.manifests]
    assert index["manifests"][2]["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"


def test_images_are_what_engines_mount(made):
    for image, config, architecture in zip(
        made.manifests, made.configs[:2], ("amd64", "arm64"), strict=False
    ):
        value, own = read(image), read(config)
        kinds = {layer["mediaType"] for layer in value["layers"]}
        assert kinds == {"application/vnd.oci.image.layer.v1.tar"}
        assert value["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
        assert value["config"]["digest"] == config.digest
        assert (own["os"], own["architecture"]) == ("linux", architecture)
        assert own["rootfs"] == {"type": "layers", "diff_ids": [la.digest for la in LAYERS]}


def test_the_artifact_is_modelpack_s(made):
    value, config = read(made.model), read(made.configs[2])
    assert value["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert value["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert value["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert [layer["mediaType"] for layer in value["layers"]] == MODEL_LAYERS
    paths = [layer["annotations"]["org.cncf.model.filepath"] for layer in value["layers"]]
    assert paths == [la.path for la in LAYERS]
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert config["config"] == {"format": "triton", "precision": "float32,int8"}
    assert config["modelfs"] == {"type": "layers", "diffIds": [la.digest for la in LAYERS]}


def test_what_is_what_can_be_read_from_outside(manifest, made):
    for document in (*made.manifests, made.index):
        notes = read(document)["annotations"]
        assert notes["triton-builder.release"] == manifest.digest
        assert notes["triton-builder.target"] == "cpu"
        assert notes["triton-builder.triton"] == "24.10"


def test_what_is_attested_refers_to_the_index(made):
    config, blob, referrer = attachment("mlbom", b"{...}", made.index)
    value = read(referrer)
    assert value["subject"]["digest"] == made.index.digest
    assert value["subject"]["mediaType"] == made.index.media_type
    assert value["artifactType"] == "application/vnd.cyclonedx+json"
    assert value["layers"][0]["digest"] == blob.digest
    assert value["config"] == {**config.descriptor()}
    assert config.content == b"{}"
