"""Targets for GPUs, where the container has none, or another than is asked for."""

import contextlib
from pathlib import Path

import pytest

from tests.containers import gpus, images
from tests.projects import echo

pytest_plugins = ["tests.containers.fixture"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

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


@pytest.fixture
def gpu_server(engine, installation, tmp_path):
    """What is written of a target whose server has a TensorRT, and a GPU of some capability."""

    @contextlib.contextmanager
    def target(tensorrt, capability):
        image = images.tensorrt(engine, installation, tensorrt)
        with gpus.device(tmp_path, capability) as device:
            yield GPU_TARGET.format(image=image, device=device)

    return target


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
