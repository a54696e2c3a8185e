"""A target that is proven in a container, by the commands that a user has."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.servers import ports
from builder.servers.endpoint import Endpoint
from builder.triton.probe import read
from builder.validation.live import CHECKS
from tests import projects
from tests.containers import gpus, images
from tests.containers.owned import containers
from tests.projects import ECHO_MODEL, echo, model

pytest_plugins = ["tests.containers.fixture"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

TARGET = """
[tool.triton-builder]
default-target = "boxed"
[tool.triton-builder.targets.cpu]
triton = "24.10"
device = "cpu"
[tool.triton-builder.targets.boxed]
triton = "24.10"
device = "cpu"
server = "container"
image = "{image}"
container = {{memory = "4GB", shm-size = "256MB", pids = 1024}}
"""
GPU_TARGET = """
[tool.triton-builder]
default-target = "gpu"
[tool.triton-builder.targets.gpu]
triton = "24.10"
device = "gpu"
server = "container"
image = "{image}"
formats = ["tensorrt", "onnx", "python"]
compute-capabilities = ["9.0"]
container = {{gpus = "{device}"}}
"""
KEEPING = """import tempfile


class TritonPythonModel:
    def initialize(self, args):
        kept = tempfile.NamedTemporaryFile(dir="/dev/shm", delete=False)
        kept.write(bytes(12_000_000))

"""
LEAKING = ECHO_MODEL.replace("class TritonPythonModel:\n", KEEPING)
SLOW = ECHO_MODEL.replace(
    "        return [", "        import time; time.sleep(20)\n        return ["
)
ASKED = projects.SPEC.replace(
    'versions:\n  "1.0": {{precision: fp32}}\n',
    """timeout: 500ms
warmup: [1, 2]
accuracy: {{data: source.py:held_out, output: y, top1: {{fp32: 0.9}}}}
versions:
  "1.0": {{precision: fp32}}
  "1.1": {{precision: fp32}}
""",
)
ASKED_SOURCE = """
import numpy as np
import torch


def load():
    linear = torch.nn.Linear(4, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(3, 4))
    return linear


def samples():
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(n, 4)).astype(np.float32)} for n in (1, 2, 3)]


def held_out():
    labels = np.arange(30) % 3
    return {"x": 9 * np.eye(4, dtype=np.float32)[labels]}, labels
"""


@pytest.fixture
def image(engine, installation):
    return images.tritonserver(engine, installation)


@pytest.fixture
def project(tmp_path, engine, image, cache, monkeypatch):
    """A project with a store of its own, whose target is served by the test's own engine."""
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    for variable in ("DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "podman")
    own = tmp_path / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(own))
    monkeypatch.setattr(projects, "TARGET", TARGET.format(image=image))
    root = tmp_path / "project"
    root.mkdir()
    return root


@pytest.fixture
def gpu_server(engine, installation, tmp_path):
    """What is written of a target whose server has a TensorRT, and a GPU of some capability."""

    @contextlib.contextmanager
    def target(tensorrt, capability):
        image = images.tensorrt(engine, installation, tensorrt)
        with gpus.device(tmp_path, capability) as device:
            yield GPU_TARGET.format(image=image, device=device)

    return target


@pytest.fixture
def start(project):
    """Starts the command in the project; it is ended with the test."""
    started = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def run(start):
    """Runs the command to its end; its exit code, and what it said."""

    def finish(*arguments):
        process = start(*arguments)
        out, err = process.communicate(timeout=200)
        assert "Traceback" not in err
        return process.returncode, out, err

    return finish


def until(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def manifest(project, target="boxed"):
    return json.loads((project / "repository" / target / "manifest.json").read_text())


@pytest.mark.export
def test_every_check_is_asked_in_a_container_as_in_the_embedded_server(engine, image, project, run):
    echo(project)
    model(project, "asked", ASKED, ASKED_SOURCE)
    code, out, err = run("build")
    assert code == 0, err
    assert "container" in out
    code, _, err = run("build", "--target", "cpu")
    assert code == 0, err
    boxed, embedded = (manifest(project, target)["models"] for target in ("boxed", "cpu"))
    for name in ("echo", "asked"):
        for version, entry in boxed[name]["versions"].items():
            assert entry["verdict"]["passed"]
            assert entry["verdict"]["server"] == "tritonserver 2.51.0 (24.10), container"
            other = embedded[name]["versions"][version]["verdict"]
            assert entry["verdict"]["checks"] == other["checks"]
    checks = boxed["asked"]["versions"]["1.1"]["verdict"]["checks"]
    assert set(checks) == {*CHECKS, "ready", "first request", "data"}
    digest = json.loads(engine("image", "inspect", image))[0]["Digest"]
    assert manifest(project)["toolchain"]["server image"] == digest
    assert "server image" not in manifest(project, "cpu")["toolchain"]


def test_what_was_proven_in_one_image_is_not_asked_again_but_in_another_it_is(
    engine, image, project, run
):
    echo(project)
    run("build")
    code, out, err = run("build")
    assert (code, "up to date" in out) == (0, True)
    assert "live server" not in err
    code, _, err = run("validate")
    assert code == 0, err
    assert "validating 1 model on a live server" in err
    other = f"{image.rpartition(':')[0]}:{engine.run}"
    engine("build", "--tag", other, "-", stdin=f"FROM {image}\nENV OTHER=1\n".encode())
    try:
        text = (project / "pyproject.toml").read_text()
        (project / "pyproject.toml").write_text(text.replace(image, other))
        code, _, err = run("build")
        assert code == 0, err
        assert "validating 1 model on a live server" in err
    finally:
        engine("rmi", other)


def test_without_an_engine_all_but_the_proof_is_done(project, run, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "no-such-engine")
    echo(project)
    assert run("check")[0] == 0
    assert run("plan")[0] == 0
    code, _, err = run("build")
    assert code == 3
    assert "no container engine" in err
    assert "apt-get install podman" in err
    assert not (project / "repository" / "boxed").exists()
    assert run("build", "--no-validate")[0] == 0
    assert "server image" not in manifest(project)["toolchain"]


def test_an_image_pinned_by_its_digest_needs_no_engine_once_it_is_proven(
    engine, image, project, run, monkeypatch
):
    echo(project)
    (pinned,) = json.loads(engine("image", "inspect", image))[0]["RepoDigests"]
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace(image, pinned))
    code, _, err = run("build")
    assert code == 0, err
    assert manifest(project)["toolchain"]["server image"] == pinned.rpartition("@")[2]
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "no-such-engine")
    assert "up to date" in run("build")[1]


def test_a_container_that_is_killed_in_the_middle(engine, project, start):
    folder = echo(project)
    (folder / "model.py").write_text(SLOW)
    process = start("build")
    until(lambda: containers(engine, process.pid))
    (container,) = containers(engine, process.pid)
    until(lambda: "loading: echo" in engine.attempt("logs", container).stderr)
    assert engine("exec", container, "id", "-u").strip() == "1000"
    engine("kill", container)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the server died" in err
    assert "its process has ended: SIGKILL" in err
    assert "Traceback" not in err
    assert containers(engine, process.pid) == []


def test_an_interrupt_during_validation_removes_the_container(engine, project, start):
    folder = echo(project)
    (folder / "model.py").write_text(SLOW)
    process = start("build")
    until(lambda: containers(engine, process.pid))
    (container,) = containers(engine, process.pid)
    until(lambda: "loading: echo" in engine.attempt("logs", container).stderr)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    print(f"ended {time.monotonic() - sent:.2f} s after Ctrl-C")
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert containers(engine, process.pid) == []
    assert not (project / "repository" / "boxed").exists()


@pytest.fixture
def serving(project, start):
    """Starts `serve` on what was built; the process, and what it said until it was ready."""

    def begin(*arguments):
        process = start("serve", *arguments)
        said = []
        for line in process.stdout:
            said.append(line.rstrip())
            if line.startswith("ready"):
                break
        return process, said

    return begin


def stopped(process, how=signal.SIGINT):
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out.splitlines(), err


def test_a_target_is_served_in_its_own_container_until_ctrl_c(engine, image, project, run, serving):
    echo(project)
    assert run("build")[0] == 0
    given = ports.pick()
    named = ("http", "grpc", "metrics")
    process, said = serving(*(f"--{n}-port={p}" for n, p in zip(named, given, strict=True)))
    assert said[0] == "starting tritonserver 2.51.0 (24.10), container"
    assert said[1:4] == [f"{n:<8} 127.0.0.1:{p}" for n, p in zip(named, given, strict=True)]
    assert said[4].startswith("loaded   echo")
    (container,) = containers(engine, process.pid)
    (facts,) = json.loads(engine("inspect", container))
    assert facts["Image"] == json.loads(engine("image", "inspect", image))[0]["Id"]
    assert facts["HostConfig"]["Memory"] == 4 * 10**9
    assert facts["HostConfig"]["ShmSize"] == 256 * 10**6
    published = [one for many in facts["NetworkSettings"]["Ports"].values() for one in many]
    assert {(one["HostIp"], int(one["HostPort"])) for one in published} == {
        ("127.0.0.1", port) for port in given
    }
    (built,) = manifest(project)["models"]["echo"]["versions"].values()
    tree = project / "repository" / "boxed" / "echo"
    probe = read(built["number"], lambda name: (tree / name).read_bytes(), "echo")
    assert Endpoint(f"127.0.0.1:{given[0]}").differs(probe) is None
    code, out, _ = stopped(process)
    assert (code, out) == (0, ["stopping", "stopped"])
    assert containers(engine, process.pid) == []
    assert sorted(p.name for p in (tree / str(built["number"])).iterdir()) == ["model.py"]


def test_a_serving_container_that_dies_is_an_error(engine, project, run, serving):
    echo(project)
    assert run("build")[0] == 0
    process, _ = serving()
    engine("kill", *containers(engine, process.pid))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended by itself" in err
    assert containers(engine, process.pid) == []


def test_a_port_that_is_taken_is_named_before_a_container_serves(engine, project, run):
    echo(project)
    assert run("build")[0] == 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = run("serve", "--grpc-port", str(port))
    assert code == 2
    assert f"127.0.0.1:{port}" in err


def test_serving_without_the_engine_says_what_to_install(project, run, monkeypatch):
    echo(project)
    assert run("build")[0] == 0
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "no-such-engine")
    code, _, err = run("serve")
    assert code == 3
    assert "apt-get install podman" in err


def test_a_server_that_somebody_else_runs_is_not_served(project, run):
    echo(project)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(
        text.replace('server = "container"', 'server = "remote"')
    )
    code, _, err = run("serve")
    assert code == 2
    assert "somebody else runs" in err
    assert "triton-builder publish" in err


def test_leaks_are_found_where_they_are_asked_for_and_change_nothing_that_is_built(project, run):
    folder = echo(project)
    assert run("build")[0] == 0
    code, out, err = run("validate", "--leaks", "--json")
    assert code == 0, err
    (version,) = json.loads(out)["models"][0]["versions"]
    (leaks,) = [f for f in version["verdict"]["findings"] if f["check"] == "leaks"]
    assert leaks["passed"]
    assert "over 2 loads" in leaks["figure"]
    assert 0 < version["verdict"]["memory"]["host_mb"] < 200
    assert "up to date" in run("build")[1]
    assert "leaks" not in str(manifest(project))
    (folder / "model.py").write_text(LEAKING)
    code, _, err = run("build")
    assert code == 0, err
    proven = manifest(project)
    code, out, err = run("validate", "--leaks")
    assert code == 1
    assert "leaks" in err
    assert re.search(r"1[12]\.\d MB a load, in each of 3 rounds", err)
    assert manifest(project) == proven
    assert "up to date" in run("build")[1]


def test_what_was_proven_without_a_gpu_is_not_proven_for_a_gpu(project, run):
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is one")
    echo(project)
    assert run("build")[0] == 0
    text = (project / "pyproject.toml").read_text()
    _, boxed = text.split("[tool.triton-builder.targets.boxed]")
    boxed = boxed.replace('"cpu"', '"gpu"') + 'formats = ["python"]\n'
    gpu = f"{text}[tool.triton-builder.targets.gpu]{boxed}"
    (project / "pyproject.toml").write_text(gpu)
    code, _, err = run("build", "--target", "gpu")
    assert code == 3
    assert "the container engine has no GPU to give" in err
    assert "nvidia-ctk cdi generate" in err


@pytest.mark.parametrize(
    ("has", "code", "said"),
    [
        (
            ("10.3.0", "9.0"),
            2,
            ("another TensorRT", "TensorRT 10.3.0 in", "TensorRT 10.5.0.18"),
        ),
        (("10.5.0", "8.6"), 3, ("no plan among the target's", "capability 8.6", "9.0")),
        (("10.5.0", "9.0"), 3, ("a GPU that its server cannot use", "CUDA driver")),
    ],
)
def test_a_gpu_target_is_told_what_is_wrong_with_its_server(
    project, run, gpu_server, has, code, said
):
    echo(project)
    with gpu_server(*has) as target:
        (project / "pyproject.toml").write_text(target)
        found, _, err = run("build")
    assert found == code, err
    for words in said:
        assert words in err
    assert not (project / "repository" / "gpu").exists()


def test_an_image_of_another_release_is_refused(project, run):
    echo(project)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(text.replace('triton = "24.10"', 'triton = "24.09"'))
    code, _, err = run("build")
    assert code == 2, err
    assert "2.50.0" in err  # what 24.09 has
    assert "2.51.0" in err  # what the image has
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('container = {memry = "4GB"}', "memry"),
        ('container = {memory = "4 apples"}', "not a size"),
        ("container = {pids = 1}", "64"),
        ('container = {gpus = "all"}', "gets no GPU"),
    ],
)
def test_a_wrong_option_of_the_container_is_named(project, run, wrong, said):
    echo(project)
    text = (project / "pyproject.toml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("container"))
    (project / "pyproject.toml").write_text(text.replace(line, wrong))
    code, _, err = run("check")
    assert code == 2
    assert said in err
    assert os.linesep in err
