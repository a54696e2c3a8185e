"""tritonserver in containers of a real engine, by podman's command line and by docker's."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from builder.errors import InputError, MissingError, WorkFailedError
from builder.servers.containers import engine as engines
from builder.servers.containers import isolation, owner
from builder.servers.containers.server import ContainerServer
from builder.servers.launch import Launch
from builder.spec.target import Container
from builder.triton.releases import release
from builder.validation.live import validate
from builder.validation.probes import probes
from tests.containers import docker, images
from tests.containers.owned import containers, orphaned_rules
from tests.validation.zoo import Zoo

pytest_plugins = ["tests.containers.fixture"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

RELEASE = release("24.10")
ECHO = """
import os

import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb.InferenceResponse(
                [pb.Tensor("y", pb.get_input_tensor_by_name(r, "x").as_numpy() + os.getuid())]
            )
            for r in requests
        ]
"""
CONFIG = """
name: "echo"
backend: "python"
input { name: "x" data_type: TYPE_INT32 dims: [2] }
output { name: "y" data_type: TYPE_INT32 dims: [2] }
instance_group { count: 1 kind: KIND_CPU }
"""
OVER_A_SOCKET = "podman by a socket"
WAYS = ("podman", "podman elsewhere", "docker", "docker elsewhere")


@pytest.fixture
def use(engine, tmp_path, monkeypatch):
    """Makes one of `WAYS` the engine that the builder finds."""
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    for variable in ("DOCKER_HOST", "CONTAINER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(variable, raising=False)
    services = []

    def to(way, hidden=None):
        kind, _, elsewhere = way.partition(" ")
        program = "podman" if kind == "podman" else docker.client(engine)
        monkeypatch.setenv("TRITON_BUILDER_ENGINE", program)
        if way != "podman":
            far = elsewhere == "elsewhere"
            address = docker.free_address() if far else docker.socket_in(tmp_path)
            service = docker.service(engine, address, hidden)
            variable = engines.HOSTS[kind]
            monkeypatch.setenv(variable, service.__enter__())
            services.append(service)
        return engines.find()

    yield to
    for service in services:
        service.__exit__(None, None, None)


@pytest.fixture
def podman(use):
    return use("podman")


@pytest.fixture
def image(engine, installation, podman):
    return podman.image(images.tritonserver(engine, installation), print, "image")


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "models"
    (folder / "echo" / "1").mkdir(parents=True)
    (folder / "echo" / "1" / "model.py").write_text(ECHO)
    (folder / "echo" / "config.pbtxt").write_text(CONFIG)
    return folder


def server(podman, image, *repositories, **changed):
    how = {"limits": Container(), "launch": Launch(ready_timeout=60), **changed}
    return ContainerServer(podman, image, RELEASE, repositories, **how)


def ask(running):
    with InferenceServerClient(running.grpc) as client:
        client.load_model("echo")
        x = InferInput("x", [2], "INT32")
        x.set_data_from_numpy(np.array([1, 2], np.int32))
        return client.infer("echo", [x]).as_numpy("y").tolist()


def mine(engine):
    return containers(engine, os.getpid())


def until(done):
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("way", WAYS)
def test_it_serves_on_the_loopback_and_leaves_nothing_behind(
    engine, installation, use, repository, way
):
    chosen = use(way)
    image = chosen.image(images.tritonserver(engine, installation), print, "image")
    with server(chosen, image, repository, limits=Container(memory="4GB", pids=500)) as running:
        assert running.name == "tritonserver 2.51.0 (24.10), container"
        assert running.release == "24.10"
        assert ask(running) == [1001, 1002]  # and so it is not root
        facts = json.loads(engine("inspect", running.container))[0]
        volumes = {mount["Name"] for mount in facts["Mounts"] if mount["Type"] == "volume"}
        assert len(volumes) == ("elsewhere" in way)
        published = facts["NetworkSettings"]["Ports"].values()
        assert {binding["HostIp"] for bindings in published for binding in bindings} == {
            "127.0.0.1"
        }
        assert facts["HostConfig"]["Memory"] == 4 * 10**9
        assert facts["EffectiveCaps"] in (None, [])
        assert engine.attempt("exec", running.container, "touch", "/x").returncode
        assert engine.attempt("exec", running.container, "touch", "/repositories/0/x").returncode
        assert running.alive()
        assert 10e6 < running.memory() < 1e9
        assert mine(engine) == [running.container]
    assert not running.alive()
    assert mine(engine) == []
    assert not volumes & set(engine("volume", "ls", "--quiet").split())
    assert "successfully loaded 'echo'" in running.log()
    assert running.memory() == 0
    assert sorted(path.name for path in (repository / "echo" / "1").iterdir()) == ["model.py"]


def test_a_repository_that_only_its_owner_may_read_is_served(podman, image, repository):
    repository.chmod(0o700)
    with server(podman, image, repository) as running:
        assert ask(running) == [1, 2]


def test_a_path_that_no_mount_can_say_is_served(podman, image, repository):
    odd = repository.rename(repository.with_name('a "b", c'))
    with server(podman, image, odd) as running:
        assert ask(running) == [1001, 1002]


def test_a_local_engine_that_has_not_our_folders_is_sent_them(
    engine, installation, use, repository
):
    hidden = repository.parent / "hidden"
    hidden.mkdir()
    inner = repository.rename(hidden / "models")
    chosen = use(OVER_A_SOCKET, hidden)
    assert chosen.host == ""
    image = chosen.image(images.tritonserver(engine, installation), print, "image")
    with server(chosen, image, inner) as running:
        assert ask(running) == [1001, 1002]
    assert mine(engine) == []


def test_a_container_that_is_killed_is_not_alive_and_says_how_it_ended(
    engine, podman, image, repository
):
    with server(podman, image, repository) as running:
        ask(running)
        engine("kill", running.container)
        assert not running.alive()
        assert running.ended() == "SIGKILL"
        assert "successfully loaded 'echo'" in running.log()
        assert running.memory() == 0
    assert mine(engine) == []
    assert "successfully loaded 'echo'" in running.log()


def test_a_server_that_ends_at_start_names_the_model_and_why(engine, podman, image, repository):
    (repository / "echo" / "1" / "model.py").write_text("raise ValueError('no such thing')\n")
    with (
        pytest.raises(WorkFailedError, match="cannot load echo, version 1") as caught,
        server(podman, image, repository, launch=Launch(explicit=False)),
    ):
        pass
    assert "no such thing" in str(caught.value.detail)
    assert mine(engine) == []


def test_a_server_without_the_memory_to_start_says_so(engine, podman, image, repository):
    with (
        pytest.raises(WorkFailedError, match="memory") as caught,
        server(podman, image, repository, limits=Container(memory="4MB")),
    ):
        pass
    assert "0.004 GB" in f"{caught.value}"
    assert mine(engine) == []


LARGE = """
    def initialize(self, args):
        self.kept = bytearray(700_000_000)
        for place in range(0, len(self.kept), 4096):
            self.kept[place] = 1

    def execute"""


def test_a_load_that_runs_into_the_memory_limit_is_told_as_that(
    engine, podman, image, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    zoo = Zoo(tmp_path / "zoo")
    described = zoo.add("large")
    model = zoo.root / "large" / "1" / "model.py"
    model.write_text(ECHO.replace("\n    def execute", LARGE))
    folder = probes(tmp_path / "probes")
    limits = Container(memory="300MB")
    with server(podman, image, zoo.root, folder, limits=limits) as running:
        assert running.shortage() is None
        (verdict,) = validate(running, [described], say=lambda _: None)
        assert running.shortage() is None  # it has been told
        assert running.alive()
    failure = next(f for f in verdict.failures if f.check == "ready")
    assert failure.reason == "the server did not load the model: the server ran out of memory"
    assert failure.found.startswith("memory: 1 of its processes killed, its limit is 0.3 GB")
    assert "raise `memory`" in failure.fix
    assert list(Path().iterdir()) == []


def test_a_gpu_that_the_container_has_and_its_server_cannot_use_is_missing(
    engine, podman, image, repository, monkeypatch
):
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is one")
    # an engine that is asked for one, and gives none without a word
    real = isolation.arguments
    monkeypatch.setattr(
        isolation, "arguments", lambda kind, wanted: real(kind, replace(wanted, gpu=False))
    )
    with (
        pytest.raises(MissingError, match="a GPU that its server cannot use") as caught,
        server(podman, image, repository, gpu=True),
    ):
        pass
    assert caught.value.found == "CUDA driver version is insufficient for CUDA runtime version"
    assert "nvidia-smi" in caught.value.fix
    assert mine(engine) == []


def test_an_image_without_a_tritonserver_is_named(engine, podman, repository):
    bare = podman.image(images.debian(engine), print, "image")
    with (
        pytest.raises(InputError, match="holds no tritonserver") as caught,
        server(podman, bare, repository),
    ):
        pass
    assert caught.value.found == bare.name
    assert mine(engine) == []


def test_an_image_of_another_release_names_both(engine, podman, image, repository):
    other = ContainerServer(podman, image, release("24.09"), [repository], limits=Container())
    with pytest.raises(InputError, match="another Triton") as caught, other:
        pass
    assert "2.51.0" in str(caught.value.found)
    assert "2.50.0" in str(caught.value.expected)
    assert "24.09" in str(caught.value.expected)
    assert mine(engine) == []


def test_an_image_that_is_nowhere_is_missing(podman):
    told = []
    with pytest.raises(MissingError, match="cannot be pulled") as caught:
        podman.image("localhost:1/no/such:image", told.append, "pyproject.toml image")
    assert caught.value.where == "pyproject.toml image"
    assert "podman pull localhost:1/no/such:image" in str(caught.value.fix)
    assert ["pulling" in line for line in told] == [True]


def test_a_gpu_that_is_not_there_is_missing(engine, podman, image, repository):
    if list(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("there is one")
    with (
        pytest.raises(MissingError, match="no GPU") as caught,
        server(podman, image, repository, gpu=True),
    ):
        pass
    assert "nvidia-ctk" in str(caught.value.fix)
    assert mine(engine) == []


def test_a_missing_repository_is_an_input_error(podman, image, tmp_path):
    with (
        pytest.raises(InputError, match="no model repository"),
        server(podman, image, tmp_path / "nowhere"),
    ):
        pass


PROGRAM = """
import sys, time
from pathlib import Path
from builder.servers.containers import engine as engines
from builder.servers.containers import owner
from builder.servers.containers.server import ContainerServer
from builder.spec.target import Container
from builder.triton.releases import release
from builder.cli import interrupts
interrupts.listen()
podman = engines.find()
image = podman.image(sys.argv[1], print, "image")
with ContainerServer(
    podman, image, release("24.10"), [Path(sys.argv[2])], limits=Container()
) as server:
    print(server.container, server.guard.process.pid, flush=True)
    for _ in range(1000):
        time.sleep(0.1)
"""


@pytest.fixture
def elsewhere(image, repository):
    """Starts a server in a process of its own; gives that, the container and its keeper's id."""
    started = []

    def start():
        command = [sys.executable, "-c", PROGRAM, image.name, str(repository)]
        parent = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0
        )
        started.append(parent)
        container, keeper = parent.stdout.readline().split()
        return parent, container, int(keeper)

    yield start
    for parent in started:
        parent.kill()
        parent.wait()
        parent.stdout.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_builder_leaves_no_container(engine, elsewhere, how):
    parent, container, _ = elsewhere()
    assert containers(engine, parent.pid) == [container]
    os.killpg(parent.pid, how)
    parent.wait(30)
    until(lambda: containers(engine, parent.pid) == [])


@pytest.mark.parametrize("times", [4, pytest.param(60, marks=pytest.mark.campaign)])
def test_a_builder_that_is_killed_at_any_moment_leaves_no_container(
    engine, podman, image, repository, times
):
    chance = random.Random(times)  # noqa: S311 - moments
    others = orphaned_rules(engine)
    command = [sys.executable, "-c", PROGRAM, image.name, str(repository)]
    for _ in range(times):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        ) as parent:
            time.sleep(chance.uniform(0.3, 1.6))
            os.killpg(parent.pid, chance.choice([signal.SIGKILL, signal.SIGINT]))
            parent.wait(30)
            time.sleep(chance.uniform(0, 1))
        owner.collect(podman)  # as the next run does
        until(lambda pid=parent.pid: containers(engine, pid) == [])
    until(lambda: not orphaned_rules(engine) - others)


def test_what_a_builder_left_that_was_killed_with_its_keeper_goes_with_the_next_run(
    engine, podman, image, repository, elsewhere
):
    parent, left, keeper = elsewhere()
    other, others, _ = elsewhere()
    os.kill(keeper, signal.SIGKILL)
    parent.kill()
    parent.wait()
    assert containers(engine, parent.pid) in ([left], [])  # another run may have been quicker
    with server(podman, image, repository):
        assert containers(engine, parent.pid) == []
        assert containers(engine, other.pid) == [others]
    assert containers(engine, other.pid) == [others]
