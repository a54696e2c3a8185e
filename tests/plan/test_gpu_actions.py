"""What a gpu target's graph of actions has beside a CPU's."""

import pytest

from builder.errors import InputError
from builder.spec.target import Plans, Target
from tests.plan.gpus import CPU, THREE, drawn, gpu, keyless, kinds
from tests.projects import echo, model


def test_a_cpu_target_has_none_of_it(tmp_path):
    model(tmp_path, spec=THREE)
    other = Target(
        triton="24.10",
        device="cpu",
        preflight=False,
        compute_capabilities=("8.0",),
        tensorrt=Plans(workspace="1GB", version_compatible=True, hardware_compatible=True),
    )
    assert keyless(drawn(tmp_path, CPU)) == keyless(drawn(tmp_path, other))
    assert not {"preflight", "tensorrt", "qdq"} & {
        action.stage for action in drawn(tmp_path, CPU).actions.values()
    }


def test_each_version_s_graph_has_a_preflight_in_its_own_precision(tmp_path):
    model(tmp_path, spec=THREE)
    echo(tmp_path)
    actions = drawn(tmp_path, gpu("8.0", "9.0", formats=("onnx", "python"))).actions
    found = {a.id: a.inputs["onnx"] for a in actions.values() if a.stage == "preflight"}
    assert found == {
        "preflight linear 1.0": "export linear",
        "preflight linear 1.1": "fp16 linear 1.1",
        "preflight linear 1.2": "qdq linear 1.2",
    }
    assert actions["preflight linear 1.0"].params == {
        "capabilities": ["8.0", "9.0"],
        "profiles": [
            {"x": [[1, 4], [1, 4], [1, 4]]},
            {"x": [[2, 4], [4, 4], [4, 4]]},
            {"x": [[5, 4], [8, 4], [8, 4]]},
        ],
    }
    assert actions["preflight linear 1.0"].tools["tensorrt-rtx"] == "1.7"
    assert not any(action.needs.gpus for action in actions.values())


def test_a_preflight_can_be_left_out(tmp_path):
    model(tmp_path)
    without = drawn(tmp_path, gpu("8.0", preflight=False))
    assert not kinds(without, "preflight")
    assert without.actions["tensorrt linear 1.0 cc 8.0"].inputs == {"onnx": "export linear"}


def test_a_plan_is_built_for_each_version_and_capability_on_a_gpu_of_that_one(tmp_path):
    model(tmp_path, spec=THREE)
    found = drawn(tmp_path, gpu("8.0", "9.0"))
    plans = [a for a in found.actions.values() if a.stage == "tensorrt"]
    assert [a.id for a in plans] == [
        f"tensorrt linear {version} cc {capability}"
        for version in ("1.0", "1.1", "1.2")
        for capability in ("8.0", "9.0")
    ]
    assert [(a.needs.gpus, a.needs.capability) for a in plans] == [(1, "8.0"), (1, "9.0")] * 3
    assert plans[2].params == {
        "profiles": found.actions["preflight linear 1.0"].params["profiles"],
        "tf32": True,
        "capability": "8.0",
        "file": "model_cc80.plan",
        "tensorrt": "10.5.0.18",
        "workspace": None,
        "version_compatible": False,
        "hardware_compatible": False,
    }
    assert not plans[0].params["tf32"]
    version = found.models["linear"].versions[1]
    assert version.laid == (plans[2].id, plans[3].id)
    assert version.artifact == "fp16 linear 1.1"


def test_no_gpu_is_booked_for_a_graph_that_the_preflight_has_not_passed(tmp_path):
    model(tmp_path)
    actions = drawn(tmp_path, gpu("8.0")).actions
    assert actions["tensorrt linear 1.0 cc 8.0"].inputs == {
        "onnx": "export linear",
        "preflight": "preflight linear 1.0",
    }


def test_the_first_of_the_two_formats_counts(tmp_path):
    model(tmp_path)
    for formats, built in (
        (("tensorrt", "onnx"), True),
        (("python", "tensorrt"), True),
        (("onnx", "tensorrt"), False),
        (("onnx",), False),
    ):
        assert bool(kinds(drawn(tmp_path, gpu("8.0", formats=formats)), "tensorrt")) is built


def test_a_hardware_compatible_plan_is_built_once_for_all(tmp_path):
    model(tmp_path)
    target = gpu("8.6", "8.0", "9.0", tensorrt=Plans(hardware_compatible=True))
    found = drawn(tmp_path, target)
    assert kinds(found, "tensorrt") == ["tensorrt linear 1.0 cc 8.6"]
    assert found.actions["config linear"].params["plans"] == dict.fromkeys(
        ("8.6", "8.0", "9.0"), "model_cc86.plan"
    )
    with pytest.raises(InputError, match=r"hardware-compatible with compute capability 7\.5"):
        drawn(tmp_path, gpu("8.0", "7.5", tensorrt=Plans(hardware_compatible=True)))


def test_plans_for_no_gpu_are_refused(tmp_path):
    model(tmp_path)
    with pytest.raises(InputError, match="which GPUs to build plans for") as caught:
        drawn(tmp_path, gpu())
    assert "compute-capabilities" in caught.value.where


def test_a_release_whose_tensorrt_is_not_known_is_refused_where_plans_are_built(tmp_path):
    model(tmp_path)
    with pytest.raises(InputError, match=r"`tensorrt` of Triton 26\.07 is not established"):
        drawn(tmp_path, gpu("9.0", triton="26.07"))
    assert drawn(tmp_path, gpu("9.0", triton="26.07", formats=("onnx",)))


def test_a_project_of_python_models_needs_none_of_it(tmp_path):
    echo(tmp_path)
    found = drawn(tmp_path, gpu(triton="26.07"))
    assert not kinds(found, "tensorrt")
    params = found.actions["config echo"].params
    assert (params["backend"], params["kind"]) == ("python", "KIND_CPU")
