"""Plans that a container would not load, found out before anything is loaded."""

import os

import pytest

from builder.errors import InputError, MissingError
from builder.servers.containers import engine as engines
from builder.servers.containers.plans import Plans
from builder.servers.containers.server import ContainerServer
from builder.servers.gpus import Gpu
from builder.servers.launch import Launch
from builder.spec.target import Container
from builder.triton.releases import release
from tests.containers import gpus, images
from tests.containers.owned import containers

pytest_plugins = ["tests.containers.fixture"]

WHERE = "pyproject.toml [tool.triton-builder.targets.gpu]"
PLANS = Plans("10.5.0.18", compatible=False, capabilities=("8.0", "9.0"), where=WHERE)
RELEASE = release("24.10")


def test_a_server_with_the_plans_tensorrt_and_gpus_is_right():
    PLANS.check("10.5.0", [Gpu("GPU-a", "9.0"), Gpu("GPU-b", "8.0"), Gpu("GPU-c")], "image")
    PLANS.check(None, [], "image")


def test_later_versions_load_plans_that_are_compatible():
    compatible = Plans("10.5.0.18", compatible=True, capabilities=("9.0",), where=WHERE)
    compatible.check("10.7.0", [], "image")
    with pytest.raises(InputError):
        PLANS.check("10.7.0", [], "image")
    with pytest.raises(InputError):
        compatible.check("10.3.0", [], "image")


def test_every_gpu_of_the_server_needs_a_plan():
    with pytest.raises(MissingError, match="has no plan") as caught:
        PLANS.check("10.5.0", [Gpu("a", "9.0"), Gpu("b", "7.5"), Gpu("c", "7.5")], "image")
    assert caught.value.found == "compute capability 7.5"


@pytest.fixture
def podman(engine, monkeypatch):
    for name, value in engine.environment.items():
        monkeypatch.setenv(name, value)
    for variable in ("DOCKER_HOST", "CONTAINER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "podman")
    return engines.find()


@pytest.fixture
def refused(engine, installation, podman, tmp_path):
    """Starts a container with a GPU for `PLANS`; gives the error, when it is gone again."""
    folder = tmp_path / "models"
    folder.mkdir()

    def start(tensorrt, capability):
        if tensorrt:
            name = images.tensorrt(engine, installation, tensorrt)
        else:
            name = images.tritonserver(engine, installation)
        image = podman.image(name, print, "image")
        with gpus.device(tmp_path, capability) as device:
            server = ContainerServer(
                podman,
                image,
                RELEASE,
                [folder],
                Launch(ready_timeout=60),
                limits=Container(gpus=device),
                gpu=True,
                plans=PLANS,
            )
            with pytest.raises((InputError, MissingError)) as caught, server:
                pass
        assert containers(engine, os.getpid()) == []
        return caught.value, name

    return start


@pytest.mark.live
@pytest.mark.slow
def test_an_image_with_another_tensorrt_names_both(refused):
    error, image = refused("10.3.0", "9.0")
    assert isinstance(error, InputError)
    assert error.where == f"{WHERE} image"
    assert error.found == f"TensorRT 10.3.0 in {image}"
    assert error.expected == "TensorRT 10.5.0.18"
    assert "releases --triton" in error.fix


@pytest.mark.live
@pytest.mark.slow
def test_an_image_without_tensorrt_is_named(refused):
    error, image = refused(None, "9.0")
    assert "no TensorRT backend" in error.problem
    assert image in error.found
    assert "-py3" in error.fix


@pytest.mark.live
@pytest.mark.slow
def test_a_gpu_of_another_compute_capability_names_both(refused):
    error, _ = refused("10.5.0", "8.6")
    assert isinstance(error, MissingError)
    assert error.where == f"{WHERE} compute-capabilities"
    assert error.found == "compute capability 8.6"
    assert error.expected == "8.0, 9.0"
    assert "compute-capabilities" in error.fix


@pytest.mark.live
@pytest.mark.slow
def test_where_tensorrt_and_gpus_are_right_the_driver_is_next(refused):
    error, _ = refused("10.5.0", "9.0")
    assert "a GPU that its server cannot use" in error.problem
