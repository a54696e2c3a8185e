"""The command `manifests`: what it reads, what it writes, and what it says."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from tests.deploy.made import KEY, TWO
from tests.projects import TARGET

GPU = """
[tool.triton-builder.targets.gpu]
triton = "24.10"
device = "gpu"
server = "container"
image = "registry.example/tritonserver:24.10-py3"
formats = ["tensorrt", "onnx"]
compute-capabilities = ["9.0"]
"""
SETTINGS = """
pull-image: registry.example/pull:1
store: s3://bucket/models
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "pyproject.toml").write_text(TARGET + GPU)
    for target in ("cpu", "gpu"):
        folder = tmp_path / "repository" / target
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(TWO.encode())
    (tmp_path / "deploy.yaml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture
def run(project):
    def call(*arguments, check=0):
        done = subprocess.run(
            [sys.executable, "-m", "builder", "-C", str(project), "manifests", *arguments],
            capture_output=True,
            text=True,
            env={k: v for k, v in os.environ.items() if not k.startswith("TRITON_BUILDER")},
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == check, done.stderr
        return done

    return call


def _deployment(folder):
    return yaml.safe_load((folder / "deployment.yaml").read_text())["spec"]["template"]["spec"]


def test_files_lie_in_the_project_and_stay_as_they_are(project, run):
    first = run().stdout
    assert "triton-cpu: minilm, resnet50" in first
    assert "15 s each for 2 models without a measurement, times 4" in first
    assert "6 files changed" in first
    assert "nothing changed" in run().stdout
    names = {path.name for path in (project / "kubernetes" / "cpu").iterdir()}
    assert {"deployment.yaml", "service.yaml", "kustomization.yaml"} <= names


def test_the_command_line_has_the_last_word(project, run):
    key = project / "key.pem"
    key.write_text(KEY)
    run(
        *("--store=gs://other/models", "--channel=prod", "--agent", "--pull-image=p:2"),
        *("--image=t:2", f"--verify-key={key}", f"--out={project / 'out'}"),
    )
    spec = _deployment(project / "out")
    pull, (triton, agent) = spec["initContainers"][0], spec["containers"]
    assert pull["args"][:2] == ["pull", "prod"]
    assert "--store=gs://other/models" in pull["args"]
    assert (pull["image"], triton["image"], agent["image"]) == ("p:2", "t:2", "p:2")
    assert (project / "out" / "configmap.yaml").read_text().count("kind: ConfigMap") == 2


def test_a_target_with_gpus(project, run):
    run("--target=gpu")
    (triton,) = _deployment(project / "kubernetes" / "gpu")["containers"]
    assert triton["image"] == "registry.example/tritonserver:24.10-py3"
    assert triton["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_report_shortens_the_budget(project, run):
    finding = {"check": "ready", "figures": {"load_s": 1.0}}
    models = [
        {"name": name, "versions": [{"verdict": {"findings": [finding]}}]}
        for name in ("minilm", "resnet50")
    ]
    report = project / "report.json"
    report.write_text(json.dumps({"models": models}))
    told = json.loads(run(f"--report={report}", "--json").stdout)
    assert told["release"] == TWO.digest
    assert told["pods"][0]["startup"].startswith("60 s (2.0 s measured for 2 models, times 4")


def test_what_builds_measured_is_taken_unless_a_report_is_named(project, run):
    measured = {"loads": {"minilm": 1.0, "resnet50": 0.5}, "memory": 3 << 30, "manifest": None}
    (project / "repository" / "cpu.measured.json").write_text(json.dumps(measured))
    told = json.loads(run("--json").stdout)
    assert told["pods"][0]["startup"].startswith("60 s (1.5 s measured for 2 models, times 4")
    report = project / "report.json"
    report.write_text(json.dumps({**measured, "loads": {"minilm": 1.0, "resnet50": 100.0}}))
    told = json.loads(run(f"--report={report}", "--json").stdout)
    assert "101.0 s measured for 2 models" in told["pods"][0]["startup"]


def test_a_mistake_in_the_settings_has_its_line(project, run):
    (project / "deploy.yaml").write_text(SETTINGS + "replicas: {min: none}\n")
    done = run(check=2)
    assert "deploy.yaml:4: `replicas.min`" in done.stderr


def test_what_is_not_built_cannot_be_deployed(project, run):
    (project / "repository" / "cpu" / "manifest.json").unlink()
    assert "nothing is built" in run(check=2).stderr


def test_a_store_on_this_machine_is_none_that_pods_reach(project, run):
    (project / "deploy.yaml").write_text("pull-image: registry.example/pull:1\n")
    assert "no release store is named that pods could reach" in run(check=2).stderr


def test_a_sigstore_of_one_s_own_goes_with_the_pods(project, run):
    kind = {"mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"}
    (project / "trust.json").write_text(json.dumps(kind))
    who = ("--verify-identity=me", "--verify-issuer=https://issuer.example")
    run(*who, f"--trust-config={project / 'trust.json'}")
    said = (project / "kubernetes" / "cpu" / "configmap.yaml").read_text()
    assert json.dumps(kind) in said
    (project / "trust.json").write_text("{}")
    done = run(*who, f"--trust-config={project / 'trust.json'}", check=2)
    assert "that is no trust configuration" in done.stderr


def test_a_private_key_is_refused(project, run):
    key = project / "key.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\nMFkw\n-----END PRIVATE KEY-----\n")
    done = run(f"--verify-key={key}", check=2)
    assert "not a public key" in done.stderr
    assert not (project / "kubernetes").exists()
