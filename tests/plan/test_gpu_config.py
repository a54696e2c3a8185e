"""What a config says on a gpu target, of itself and where its author says it."""

import pytest

from builder.errors import InputError
from builder.spec.project import load
from builder.triton.config import proto
from tests.plan.gpus import CPU, ONE, THREE, drawn, gpu, rendered
from tests.projects import echo, model


def test_the_config_names_a_file_for_each_capability_and_every_profile(tmp_path):
    model(tmp_path, spec=THREE)
    params = drawn(tmp_path, gpu("8.0", "9.0")).actions["config linear"].params
    assert params["backend"] == "tensorrt"
    assert params["kind"] == "KIND_GPU"
    assert params["plans"] == {"8.0": "model_cc80.plan", "9.0": "model_cc90.plan"}
    assert params["profiles"] == 3
    onnx = drawn(tmp_path, gpu("8.0", formats=("onnx", "tensorrt"))).actions["config linear"].params
    assert onnx["backend"] == "onnxruntime"
    assert onnx["kind"] == "KIND_GPU"
    assert "plans" not in onnx


def test_nothing_is_optimised_that_nobody_asked_for(tmp_path):
    model(tmp_path, spec=THREE)
    for target in (CPU, gpu("8.0"), gpu("8.0", formats=("onnx",))):
        assert "optimization" not in rendered(tmp_path, target)[0]


BY_HAND = "config:\n  optimization:\n    %s\n"


GRAPHS = "cuda: {graphs: true}"


BY_EXECUTION = "execution_accelerators: {gpu_execution_accelerator: [{name: tensorrt}]}"


@pytest.mark.parametrize("said", [GRAPHS, BY_EXECUTION])
def test_what_the_config_says_of_gpus_is_refused_on_a_cpu_target(tmp_path, said):
    spec = ONE + BY_HAND % said
    model(tmp_path, spec=spec)
    with pytest.raises(InputError, match="is about GPUs, and the target has none") as caught:
        drawn(tmp_path, CPU)
    assert caught.value.where == f"models/linear/model.yaml:{spec.count(chr(10))}"
    assert "`gpu`" in caught.value.fix
    assert said.partition(":")[0] in rendered(tmp_path, gpu("8.0"))[0]


def test_what_is_said_twice_is_refused(tmp_path):
    model(tmp_path, spec=ONE + BY_HAND % GRAPHS + "gpu: {cuda_graphs: true}\n")
    with pytest.raises(InputError, match="is said twice"):
        drawn(tmp_path, gpu("8.0"))


def test_other_optimisations_are_kept_beside(tmp_path):
    model(tmp_path, spec=ONE + BY_HAND % "priority: PRIORITY_MAX" + "gpu: {cuda_graphs: true}\n")
    optimised = rendered(tmp_path, gpu("8.0"))[1].optimization
    assert optimised.cuda.graphs
    assert optimised.priority == proto().ModelOptimizationPolicy.PRIORITY_MAX


def test_a_python_model_has_none_of_it(tmp_path):
    folder = echo(tmp_path)
    path = folder / "model.yaml"
    path.write_text(path.read_text() + "gpu: {cuda_graphs: true}\n")
    with pytest.raises(InputError, match="Python's to run"):
        load(tmp_path)
