"""What docs/kubernetes.md shows is what there is."""

import textwrap
from pathlib import Path

import yaml

from builder.deploy import lanes, manifests
from builder.deploy.settings import Deployment
from builder.spec.document import Document, parse
from tests.deploy.cluster import kustomize
from tests.deploy.made import context, release

TEXT = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text()


def _block(first):
    """The indented block that begins so."""
    start = TEXT.index(f"    {first}")
    return textwrap.dedent(TEXT[start:].split("\n\n", 1)[0] + "\n")


def test_the_settings_that_are_shown_are_settings():
    said = yaml.safe_load(_block("pull-image: "))
    settings = parse(Document("docs/kubernetes.md", said, {}), Deployment)
    manifest = release({"text_embedding": 1, "resnet50": 1})
    assert len(lanes.pods(manifest, settings, "triton-cpu")) == 2


def test_the_overlay_that_is_shown_can_be_laid_over(tmp_path):
    manifests.write(context(), tmp_path / "kubernetes" / "cpu")
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(_block("resources: ["))
    made = {m["kind"]: m for m in kustomize(overlay)}
    assert made["Service"]["metadata"]["labels"]["team"] == "search"
    assert made["Deployment"]["spec"]["template"]["spec"]["tolerations"]


def test_every_file_that_can_be_written_is_told():
    scaled = {"min": 2, "max": 3}
    for said in (
        {"monitor": "pod", "replicas": {**scaled, "scale-on": "cpu"}},
        {
            "monitor": "service",
            "replicas": {**scaled, "scale-on": "queue", "prometheus": "http://prometheus:9090"},
        },
    ):
        for name in manifests.files(context(said)):
            assert f"`{name}`" in TEXT
