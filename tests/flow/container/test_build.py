"""A target that is built and proven in a container, by the commands that a user has."""

import json
import os
import re
import signal
import time

import pytest

from builder.validation.live import CHECKS
from tests import projects
from tests.containers.owned import containers
from tests.flow.container.boxed import SLOW, manifest, until
from tests.projects import ECHO_MODEL, echo, model

pytest_plugins = ["tests.containers.fixture"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

KEEPING = """import tempfile


class TritonPythonModel:
    def initialize(self, args):
        kept = tempfile.NamedTemporaryFile(dir="/dev/shm", delete=False)
        kept.write(bytes(12_000_000))

"""
LEAKING = ECHO_MODEL.replace("class TritonPythonModel:\n", KEEPING)
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
