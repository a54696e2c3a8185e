"""A stage in a container, on a real engine: which Python it runs in, what it sees, what it says.

TensorRT-RTX stands where an image has TensorRT: it parses and builds without a GPU. No plan of
TensorRT is built here, and no GPU is given.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from builder.engine import contained
from builder.engine.executor import Order
from builder.engine.worker import Worker, perform
from builder.errors import MissingError, WorkFailedError
from builder.plan.action import Action, Needs
from builder.plan.evaluate import Record
from builder.stages import artifact, tensorrt
from builder.store.store import Store
from tests.containers import docker, images
from tests.stages import graphs
from tests.stages.graphs import X, Y
from tests.stages.test_tensorrt import SPANS

pytestmark = pytest.mark.slow
pytest_plugins = ["tests.containers.fixture"]


@pytest.fixture(params=["podman", "docker"])
def boxes(request, engine, tmp_path, monkeypatch):
    """The test's own engine is the one that is found, by its own command line or by docker's."""
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    for variable in ("DOCKER_HOST", "CONTAINER_HOST"):
        monkeypatch.delenv(variable, raising=False)
    if request.param == "podman":
        monkeypatch.setenv("TRITON_BUILDER_ENGINE", "podman")
        yield engine
        return
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", docker.client(engine))
    with docker.service(engine, docker.socket_in(tmp_path)) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        yield engine


def preflight(image):
    params = {"profiles": SPANS, "capabilities": ["8.9", "9.0"]}
    return Action("preflight m 1.0", "preflight", params, needs=Needs(image=image))


def job(tmp_path, params, model=None):
    made = graphs.job(tmp_path, None, X, Y, [])
    artifact.write(model or graphs.layer(), made.inputs["onnx"])
    (made.out / "kept").touch()
    return replace(made, params=params)


def test_the_image_s_own_library_builds(tmp_path, boxes):
    image = images.tensorrt_rtx(boxes)
    action = preflight(image)
    facts = contained.run(action, job(tmp_path, action.params))
    assert facts["library"] == "tensorrt-rtx 1.7.1.116"
    assert facts["layers"] == 2
    assert facts["built_for"] == ["8.9"]
    assert facts["python"].startswith("3.11.")
    assert facts["image"].startswith("sha256:")


def test_what_the_stage_refuses_there_is_the_error_here(tmp_path, boxes):
    action = preflight(images.debian(boxes))  # whose Python has no TensorRT-RTX; ours has
    with pytest.raises(MissingError, match="TensorRT-RTX, which checks") as caught:
        contained.run(action, job(tmp_path, action.params))
    assert caught.value.exit_code == 3
    params = {
        "profiles": SPANS,
        "tf32": True,
        "capability": "9.0",
        "file": "model_cc90.plan",
        "workspace": None,
        "version_compatible": False,
        "hardware_compatible": False,
        "tensorrt": "10.5.0.18",
    }
    plan = Action("tensorrt m 1.0 cc 9.0", "tensorrt", params, needs=action.needs)
    with pytest.raises(MissingError, match="TensorRT is not installed") as caught:
        contained.run(plan, job(tmp_path / "plan", params))
    assert "10.5.0" in caught.value.fix


def test_an_error_that_nobody_expected_is_told_with_where_it_arose(tmp_path, boxes):
    action = replace(preflight(images.tensorrt_rtx(boxes)), params={"capabilities": ["8.9"]})
    with pytest.raises(WorkFailedError, match="KeyError: 'profiles'") as caught:
        contained.run(action, job(tmp_path, action.params))
    assert "preflight.py" in caught.value.detail


def test_an_image_that_is_not_to_be_had_is_missing(tmp_path, boxes):
    action = preflight("localhost/no-such-image:1")
    with pytest.raises(MissingError) as caught:
        contained.run(action, job(tmp_path, action.params))
    assert caught.value.where == contained.WHERE


def test_an_image_without_a_python_is_told(tmp_path, boxes):
    name = f"{images.REPOSITORY}/empty:1"
    boxes(
        "build",
        "--network=none",
        f"--tag={name}",
        "--file=-",
        str(tmp_path),
        stdin=b"FROM scratch\n",
    )
    action = preflight(name)
    with pytest.raises(WorkFailedError, match="ended without an answer") as caught:
        contained.run(action, job(tmp_path / "job", action.params))
    assert "`python3`" in caught.value.expected
    assert name in caught.value.found


HANGS = """\
ARG BASE
FROM $BASE
RUN printf '#!/bin/sh\\nexec sleep 1000000\\n' > /usr/local/bin/python3 && \\
    chmod +x /usr/local/bin/python3
"""
PATIENCE = 60.0


@pytest.fixture
def hanging(boxes):
    """An image in which nothing that is begun ever ends."""
    name = f"{images.REPOSITORY}/hangs:1"
    base = f"--build-arg=BASE={images.debian(boxes)}"
    boxes("build", "--network=none", base, f"--tag={name}", "-", stdin=HANGS.encode())
    return name


def running(boxes, image, count):
    """The containers of an image, once there are so many of them that run."""
    end = time.monotonic() + PATIENCE
    listing = ("ps", "--no-trunc", "--quiet", f"--filter=ancestor={image}")
    found = boxes(*listing).split()
    while len(found) != count:
        assert time.monotonic() < end, found
        time.sleep(0.1)
        found = boxes(*listing).split()
    return found


def gone(boxes, container):
    """Waits until a container is no more."""
    end = time.monotonic() + PATIENCE
    while boxes.attempt("container", "exists", container).returncode == 0:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("end", ["as Ctrl-C has it", "by a kill"])
def test_a_container_ends_with_the_worker_that_waits_for_it(tmp_path, boxes, hanging, end):
    store = Store(tmp_path / "store", tmp_path)
    action = preflight(hanging)
    worker = Worker(store)
    try:
        running(boxes, hanging, 0)
        worker.give(Order(action, "1" * 64, action.ingredients({}, {}), {}))
        (container,) = running(boxes, hanging, 1)
        if end == "by a kill":
            os.kill(worker.pid, signal.SIGKILL)
            assert isinstance(worker.result(), WorkFailedError)
    finally:
        worker.stop()
    gone(boxes, container)


RUN = """
import sys
from pathlib import Path
from builder.engine.local import LocalExecutor
from builder.engine.run import run
from builder.plan.action import Action, Needs
from builder.plan.graph import Graph
from builder.store.store import Store

if __name__ == "__main__":
    folder, image = Path(sys.argv[1]), sys.argv[2]
    action = Action("preflight m 1.0", "preflight", {}, needs=Needs(image=image))
    store = Store(folder / "store", folder)
    graph = Graph({action.id: action}, {})
    run(graph, {}, store, executor=lambda _: LocalExecutor(store, 1), say=lambda _: None)
"""


def test_ctrl_c_leaves_no_container_behind(tmp_path, boxes, hanging):
    (tmp_path / "run.py").write_text(RUN)
    running(boxes, hanging, 0)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), hanging]
    build = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    (container,) = running(boxes, hanging, 1)
    build.send_signal(signal.SIGINT)
    _, said = build.communicate(timeout=PATIENCE)
    assert "KeyboardInterrupt" in said
    gone(boxes, container)


def test_without_an_engine_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "no-such-engine")
    action = preflight("x")
    with pytest.raises(MissingError, match="no container engine"):
        contained.run(action, job(tmp_path, action.params))


def test_a_worker_does_such_an_action_there_and_keeps_what_came_of_it(tmp_path, boxes):
    store = Store(tmp_path / "store", tmp_path)
    graph = tmp_path / "graph"
    graph.mkdir()
    artifact.write(graphs.layer(), graph)
    made = Action("export m", "export", {})
    source = Record("0" * 64, store.take(graph), {}, {}, {})
    action = replace(preflight(images.tensorrt_rtx(boxes)), inputs={"onnx": made.id})
    ingredients = action.ingredients({}, {"onnx": source.digest})
    answer = perform(Order(action, "1" * 64, ingredients, {"onnx": source}), store)
    assert isinstance(answer, Record), answer
    assert answer.facts["library"].startswith("tensorrt-rtx")
    assert not answer.outputs
    assert store.find("1" * 64) is not None


def test_another_tensorrt_than_the_release_s_has_the_image_as_its_fix():
    assert "builder-image" in tensorrt._way("10.5.0.18")
    assert f"{tensorrt.IMAGE}:24.10-py3" in tensorrt._way("10.5.0.18")
