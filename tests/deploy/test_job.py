"""The Job that proves a target beside a Triton of its own."""

import kubernetes_validate
import pytest
import yaml

from builder.deploy.job import job
from builder.deploy.settings import Deployment
from builder.errors import InputError
from builder.spec.target import Target
from tests.deploy.test_schemas import VERSIONS

IMAGE, CACHE = "registry.example/project:1", "s3://bucket/results"
GPU = Target(
    triton="24.10",
    device="gpu",
    server="remote",
    formats=("onnx",),
    compute_capabilities=("9.0",),
)
CPU = Target(triton="24.10", device="cpu", server="remote")
SETTINGS = {
    "namespace": "ci",
    "credentials": "store",
    "environment": {"AWS_REGION": "eu-central-1"},
    "service-account": "builder",
    "image-pull-secrets": ["registry"],
    "resources": {"cpu": "4", "memory": "16GiB"},
}


def made(target=GPU, said=SETTINGS, name="gpu", cache=CACHE):
    return job(name, target, Deployment.model_validate(said), IMAGE, cache)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("said", [{}, SETTINGS], ids=["plain", "all"])
def test_kubernetes_takes_every_field(version, target, said):
    kubernetes_validate.validate(made(target, said), version, strict=True)


def test_the_build_reaches_the_triton_beside_it_and_nobody_else_does():
    pod = made()["spec"]["template"]["spec"]
    (triton,), (build,) = pod["initContainers"], pod["containers"]
    env = {one["name"]: one["value"] for one in build["env"]}
    http, grpc = env["TRITON_BUILDER_SERVER_URL"].split()
    assert f"--http-port={http.rpartition(':')[2]}" in triton["args"]
    assert f"--grpc-port={grpc.rpartition(':')[2]}" in triton["args"]
    assert {a for a in triton["args"] if "address" in a} == {
        f"--{kind}-address=127.0.0.1" for kind in ("http", "grpc", "metrics")
    }
    shared = env["TRITON_BUILDER_SERVER_REPOSITORY"]
    assert f"--model-repository={shared}" in triton["args"]
    mounts = [
        next(m for m in container["volumeMounts"] if m["mountPath"] == shared)
        for container in (triton, build)
    ]
    assert [m["name"] for m in mounts] == ["models", "models"]
    assert [m.get("readOnly", False) for m in mounts] == [True, False]


def test_triton_ends_when_the_build_has():
    pod = made()["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["restartPolicy"] == "Always"
    assert pod["restartPolicy"] == "Never"


def test_a_gpu_is_asked_for_where_the_target_has_one():
    pods = [made(target)["spec"]["template"]["spec"] for target in (CPU, GPU)]
    asked = [p["initContainers"][0]["resources"]["limits"].get("nvidia.com/gpu") for p in pods]
    assert asked == [None, 1]
    assert ["affinity" in p for p in pods] == [False, True]


@pytest.mark.parametrize(
    ("target", "cache", "problem"),
    [
        (Target(triton="24.10", device="cpu"), CACHE, "not proven on a remote server"),
        (GPU, None, "would be lost"),
        (GPU, "file:///var/results", "would be lost"),
    ],
)
def test_a_job_that_would_prove_nothing_is_refused(target, cache, problem):
    with pytest.raises(InputError, match=problem):
        made(target, cache=cache)


def test_the_command_writes_it_without_anything_built(tmp_path, run_manifests):
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.triton-builder]\nremote-cache = "{CACHE}"\n'
        '[tool.triton-builder.targets.cpu]\ntriton = "24.10"\ndevice = "cpu"\nserver = "remote"\n'
    )
    said = run_manifests(tmp_path, "--job", IMAGE)
    file = tmp_path / "kubernetes" / "cpu-validation" / "job.yaml"
    assert "changed" in said
    assert yaml.safe_load(file.read_text()) == made(CPU, {}, "cpu")
    assert "nothing changed" in run_manifests(tmp_path, "--job", IMAGE)


@pytest.fixture
def run_manifests():
    import subprocess
    import sys

    def call(root, *arguments):
        words = [sys.executable, "-m", "builder", "-C", str(root), "manifests", *arguments]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call
