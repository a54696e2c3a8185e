"""What a gpu target's graph of actions has beside a CPU's."""

import pytest
from pydantic import ValidationError

from builder.errors import BuilderError, InputError, SeveralError
from builder.plan.evaluate import Record, evaluate
from builder.plan.graph import graph
from builder.plan.toolchain import TOOLS, Toolchain
from builder.spec.project import load
from builder.spec.target import Graphs, Plans, Target
from builder.triton.config import model_config, proto, render
from tests.plan.test_graph import Remembered
from tests.projects import SPEC, echo, model

TOOLCHAIN = Toolchain(
    "3.11", {"tensorrt-rtx": "1.7"}, dict.fromkeys(TOOLS, "code"), {"ort": "1.19.2"}
)
CPU = Target(triton="24.10", device="cpu")
THREE = SPEC.replace(
    '"1.0": {{precision: fp32}}', '"1.0": {{precision: fp32}}\n  "1.1": {{}}\n  "1.2": {{}}'
).replace('"1.2": {{}}', '"1.2": {{precision: int8}}\nbatching: {{preferred: [4]}}')


def gpu(*capabilities, formats=("tensorrt", "onnx", "python"), triton="24.10", **options):
    return Target(
        triton=triton,
        device="gpu",
        server="container",
        formats=formats,
        compute_capabilities=capabilities,
        **options,
    )


def drawn(root, target, toolchain=TOOLCHAIN):
    project = load(root)
    return graph(project, target, toolchain, {*project.models, *project.ensembles})


def kinds(actions, stage):
    return [id_ for id_, action in actions.actions.items() if action.stage == stage]


def keyless(actions):
    """What keys are made of, but for files and inputs, which are the same all over."""
    return {id_: (a.stage, a.params, dict(a.tools)) for id_, a in actions.actions.items()}


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


def test_what_tensorrt_is_installed_is_in_no_plan_s_key(tmp_path):
    model(tmp_path)
    other = Toolchain(
        "3.11",
        {"tensorrt-rtx": "1.7", "tensorrt": "11.0"},
        TOOLCHAIN.code,
        TOOLCHAIN.runtime,
    )
    id_ = "tensorrt linear 1.0 cc 8.0"
    one, two = (drawn(tmp_path, gpu("8.0"), tools).actions[id_] for tools in (TOOLCHAIN, other))
    assert one.tools == two.tools
    assert one.tools["tensorrt"] == "10.5.0.18"


def test_another_preflight_library_asks_again_and_builds_no_plan_anew(tmp_path):
    model(tmp_path)
    memory = Remembered()
    before = drawn(tmp_path, gpu("8.0"))
    files = {path: "aa" for a in before.actions.values() for path in a.files.values()}
    _run(before, files, memory)
    newer = Toolchain("3.11", {"tensorrt-rtx": "1.8"}, TOOLCHAIN.code, TOOLCHAIN.runtime)
    assert _run(drawn(tmp_path, gpu("8.0"), newer), files, memory) == ["preflight linear 1.0"]


def _run(actions, files, memory):
    """Does everything that is missing; a preflight gives no files."""
    ran = []
    while todo := [d for d in evaluate(actions, files, memory) if not d.hit and d.key]:
        for decision in todo:
            outputs = {} if decision.action.stage == "preflight" else {"out": (decision.key, 1)}
            memory.records[decision.key] = Record(decision.key, outputs, {}, {}, {})
            ran.append(decision.action.id)
    return ran


@pytest.mark.parametrize(
    "options", [{"workspace": "5GB"}, {"version_compatible": True}, {"hardware_compatible": True}]
)
def test_options_of_plans_are_in_their_keys_alone(tmp_path, options):
    model(tmp_path)
    plain = keyless(drawn(tmp_path, gpu("8.0")))
    changed = keyless(drawn(tmp_path, gpu("8.0", tensorrt=Plans(**options))))
    assert {id_ for id_ in plain if plain[id_] != changed[id_]} == {"tensorrt linear 1.0 cc 8.0"}


@pytest.mark.parametrize(
    ("chosen", "image"),
    [
        (False, None),
        (True, "nvcr.io/nvidia/tensorrt:24.10-py3"),
        ("registry.example/tensorrt:mine", "registry.example/tensorrt:mine"),
    ],
)
def test_plans_are_built_in_the_image_that_the_target_names_and_their_keys_do_not_hold_it(
    tmp_path, chosen, image
):
    model(tmp_path)
    plain = drawn(tmp_path, gpu("8.0"))
    found = drawn(tmp_path, gpu("8.0", tensorrt=Plans(builder_image=chosen)))
    assert found.actions["tensorrt linear 1.0 cc 8.0"].needs.image == image
    assert {a.needs.image for a in found.actions.values() if a.stage != "tensorrt"} == {None}
    assert keyless(found) == keyless(plain)


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


LONG = THREE.replace("shape: [batch, 4]", "shape: [batch, length]").replace(
    "  batch: {{max: 8}}", "  batch: {{max: 8}}\n  length: {{min: 2, max: 9}}"
)


def rendered(root, target):
    """The text of config.pbtxt, and what NVIDIA's protobuf reads out of it."""
    from google.protobuf import text_format

    params = drawn(root, target).actions["config linear"].params
    text = render(model_config(params))
    return text, text_format.Parse(text, proto().ModelConfig())


def test_nothing_is_optimised_that_nobody_asked_for(tmp_path):
    model(tmp_path, spec=THREE)
    for target in (CPU, gpu("8.0"), gpu("8.0", formats=("onnx",))):
        assert "optimization" not in rendered(tmp_path, target)[0]


CAPTURED = """\
optimization {
  cuda {
    graphs: true
    graph_spec {
      batch_size: 1
      input {
        key: "x"
        value {
          dim: [4]
        }
      }
    }
"""


def test_plans_are_captured_at_the_best_batch_of_every_profile(tmp_path):
    model(tmp_path, spec=THREE + "gpu: {cuda_graphs: true}\n")
    text, config = rendered(tmp_path, gpu("8.0"))
    assert CAPTURED in text
    specs = config.optimization.cuda.graph_spec
    assert [spec.batch_size for spec in specs] == [1, 4, 8]
    assert [list(spec.input["x"].dim) for spec in specs] == [[4]] * 3
    assert not any(spec.HasField("graph_lower_bound") for spec in specs)


def test_plans_are_captured_at_the_shapes_that_are_named(tmp_path):
    shapes = "[{batch: 1, length: 4}, {batch: 8, length: 9}]"
    model(tmp_path, spec=LONG + f"gpu: {{cuda_graphs: {shapes}}}\n")
    _, config = rendered(tmp_path, gpu("8.0"))
    specs = config.optimization.cuda.graph_spec
    found = [(spec.batch_size, list(spec.input["x"].dim)) for spec in specs]
    assert found == [(1, [4]), (8, [9])]


def test_a_model_without_a_batch_is_captured_whole(tmp_path):
    spec = THREE.replace(
        "y: {{dtype: float32, shape: [batch, 3]}}", "y: {{dtype: float32, shape: [3]}}"
    )
    spec = spec.replace("batching: {{preferred: [4]}}", "gpu: {{cuda_graphs: [{{batch: 2}}]}}")
    model(tmp_path, spec=spec)
    _, config = rendered(tmp_path, gpu("8.0"))
    (one,) = config.optimization.cuda.graph_spec
    assert (one.batch_size, list(one.input["x"].dim)) == (0, [2, 4])


def test_cuda_graphs_are_for_plans_alone(tmp_path):
    model(tmp_path, spec=THREE + "gpu: {cuda_graphs: true}\n")
    assert "cuda" not in rendered(tmp_path, gpu("8.0", formats=("onnx",)))[0]
    assert "cuda" not in rendered(tmp_path, CPU)[0]


@pytest.mark.parametrize(
    ("said", "problem", "expected"),
    [
        ("true", "nothing says at which", "[{length: 9, batch: 8}]"),
        ("[{batch: 1}]", "`length` has no size here", "{length: 9, batch: 8}"),
        ("[{batch: 1, lenght: 4}]", "`lenght` is no dimension", "length, batch"),
        ("[{batch: 9, length: 4}]", "a size of `batch` that the spec does not allow", "1 to 8"),
        ("[{batch: 1, length: 1}]", "a size of `length` that the spec does not allow", "2 to 9"),
        ("[]", "no shape to capture", None),
    ],
)
def test_a_shape_that_cannot_be_captured_is_refused_with_its_line(
    tmp_path, said, problem, expected
):
    spec = LONG + f"gpu: {{cuda_graphs: {said}}}\n"
    line = spec[: spec.index("gpu:")].count("\n") + 1
    model(tmp_path, spec=spec)
    with pytest.raises(BuilderError) as caught:
        load(tmp_path)
    errors = caught.value.errors if isinstance(caught.value, SeveralError) else [caught.value]
    (error,) = [one for one in errors if problem in one.problem]
    assert error.exit_code == 2
    assert error.where == f"models/linear/model.yaml:{line}"
    assert error.expected == expected


ONE = SPEC.replace("{{precision: fp32}}", "{{}}")
ACCELERATED = """\
optimization {
  execution_accelerators {
    gpu_execution_accelerator {
      name: "tensorrt"
      parameters {
        key: "max_workspace_size_bytes"
        value: "2000000000"
      }
      parameters {
        key: "precision_mode"
        value: "FP16"
      }
      parameters {
        key: "trt_profile_max_shapes"
        value: "x:8x4"
      }
      parameters {
        key: "trt_profile_min_shapes"
        value: "x:1x4"
      }
      parameters {
        key: "trt_profile_opt_shapes"
        value: "x:8x4"
      }
    }
  }
}
"""
TRT = Graphs(accelerator="tensorrt", workspace="2GB")


def test_the_accelerator_is_told_precision_workspace_and_all_shapes(tmp_path):
    model(tmp_path, spec=ONE)
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT)
    text, config = rendered(tmp_path, target)
    assert ACCELERATED in text
    (one,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert one.name == "tensorrt"
    for precision, mode in (("fp32", "FP32"), ("int8", "INT8")):
        model(tmp_path, spec=ONE.replace("{{}}", f"{{{{precision: {precision}}}}}"))
        assert f'value: "{mode}"' in rendered(tmp_path, target)[0]


def test_a_release_that_takes_no_shapes_is_told_none(tmp_path):
    model(tmp_path, spec=ONE)
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT, triton="24.03")
    assert "precision_mode" in rendered(tmp_path, target)[0]
    assert "trt_profile" not in rendered(tmp_path, target)[0]


def test_a_model_may_have_the_accelerator_alone_or_go_without(tmp_path):
    plain = gpu("8.0", formats=("onnx",))
    model(tmp_path, spec=ONE + "gpu: {accelerator: tensorrt}\n")
    assert 'name: "tensorrt"' in rendered(tmp_path, plain)[0]
    assert "optimization" not in rendered(tmp_path, gpu("8.0"))[0]  # a plan has nothing to gain
    model(tmp_path, spec=ONE + "gpu: {accelerator: none}\n")
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT)
    assert "optimization" not in rendered(tmp_path, target)[0]


def test_versions_of_several_precisions_have_no_accelerator_in_common(tmp_path):
    model(tmp_path, spec=THREE)
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT)
    with pytest.raises(InputError, match="one precision for all versions") as caught:
        drawn(tmp_path, target)
    assert caught.value.found == "1.0: fp32, 1.1: fp16, 1.2: int8"
    assert caught.value.where.startswith("models/linear/model.yaml:")
    assert "accelerator: none" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "cpu", "server": "embedded", "formats": ("onnx",)}, "expected device = gpu"),
        ({"device": "gpu", "server": "container", "formats": ("tensorrt",)}, "all become plans"),
    ],
)
def test_an_accelerator_where_it_has_nothing_to_do_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        Target(triton="24.10", onnxruntime=TRT, **changes)


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
