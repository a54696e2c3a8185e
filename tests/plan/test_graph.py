"""Which actions a project needs, without a disk beyond its specs, torch or a server."""

import pytest

from builder.errors import InputError
from builder.plan.evaluate import Record, evaluate
from builder.plan.graph import graph
from builder.plan.toolchain import TOOLS, Toolchain
from builder.spec.project import load
from builder.spec.target import Target
from tests.projects import SOURCE, SPEC, echo, ensemble, model

CPU = Target(triton="24.10", device="cpu")
TOOLCHAIN = Toolchain("3.11", {"torch": "2.13.0"}, dict.fromkeys(TOOLS, "code"), {"ort": "1.19.2"})
TWO = SPEC.replace('"1.0": {{precision: fp32}}', '"1.0": {{}}\n  "1.1": {{precision: int8}}')


def drawn(root, target=CPU, names=None, toolchain=TOOLCHAIN):
    project = load(root)
    return graph(project, target, toolchain, names or {*project.models, *project.ensembles})


def test_versions_that_load_the_same_module_share_its_export(tmp_path):
    model(tmp_path, spec=TWO)
    assert list(drawn(tmp_path).actions) == [
        "reference linear",
        "export linear",
        "prove linear 1.0",
        "int8 linear 1.1",
        "prove linear 1.1",
        "config linear",
    ]


def test_a_load_that_takes_the_version_is_asked_for_each(tmp_path):
    model(tmp_path, spec=TWO, source=SOURCE.replace("def load():", "def load(version):"))
    actions = drawn(tmp_path).actions
    assert {"export linear 1.0", "export linear 1.1"} <= actions.keys()
    assert actions["reference linear 1.1"].params["version"] == "1.1"


def test_text_is_int8_by_default_and_everything_else_is_not(tmp_path):
    spec = SPEC.replace(": {{precision: fp32}}", ": {{}}")
    model(tmp_path, "text", spec.replace("source:", "task: text\nsource:"))
    model(tmp_path, "other", spec)
    plans = drawn(tmp_path).models
    assert plans["text"].versions[0].precision == "int8"
    assert plans["other"].versions[0].precision == "fp32"


def test_opset_and_ir_version_are_the_release_s(tmp_path):
    model(tmp_path)
    params = drawn(tmp_path).actions["export linear"].params
    assert (params["opset"], params["ir_version"]) == (20, 10)
    older = drawn(tmp_path, Target(triton="24.04", device="cpu")).actions["export linear"].params
    assert older["ir_version"] == 9


def test_an_export_is_told_what_the_release_loads(tmp_path):
    model(tmp_path)
    params = drawn(tmp_path, Target(triton="26.07", device="cpu")).actions["export linear"].params
    assert params["loads"] == {"opset": 26, "ir_version": 13}
    assert (params["opset"], params["ir_version"]) == (20, 10)


def test_a_release_that_loads_no_onnx_is_refused_where_a_model_needs_it(tmp_path):
    echo(tmp_path)
    assert "python echo" in drawn(tmp_path, Target(triton="24.02", device="cpu")).actions
    model(tmp_path)
    with pytest.raises(InputError, match=r"`onnxruntime` of Triton 24\.02"):
        drawn(tmp_path, Target(triton="24.02", device="cpu"))


def test_a_gpu_that_the_release_does_not_support_is_refused(tmp_path):
    echo(tmp_path)

    def on(triton, *capabilities):
        kind = Target(
            triton=triton, device="gpu", server="remote", compute_capabilities=capabilities
        )
        return drawn(tmp_path, kind)

    assert on("24.10", "6.0", "9.0")
    with pytest.raises(InputError, match=r"of compute capability 6\.0") as caught:
        on("26.07", "6.0", "9.0", "12.0")
    assert caught.value.expected == "7.5 or higher"
    with pytest.raises(InputError, match="not established"):
        on("24.11", "6.0")


def test_a_release_that_is_not_known_is_refused(tmp_path):
    model(tmp_path)
    with pytest.raises(InputError, match=r"99\.99"):
        drawn(tmp_path, Target(triton="99.99", device="cpu"))


def test_it_is_refused_where_nothing_asks_what_it_is_made_of(tmp_path):
    echo(tmp_path)
    with pytest.raises(InputError, match=r"99\.99"):
        drawn(tmp_path, Target(triton="99.99", device="cpu"))


def test_a_target_without_the_format_is_refused(tmp_path):
    echo(tmp_path)
    with pytest.raises(InputError, match="no format for echo"):
        drawn(tmp_path, Target(triton="24.10", device="cpu", formats=("onnx",)))


def test_a_target_s_name_and_the_project_s_place_are_in_no_key(tmp_path):
    keys = []
    for place in ("a", "b/c"):
        root = tmp_path / place
        root.mkdir(parents=True)
        model(root)
        actions = drawn(root).actions
        files = {path: "aa" for a in actions.values() for path in a.files.values()}
        inputs = {a.id: dict.fromkeys(a.inputs, "bb") for a in actions.values()}
        keys.append([a.ingredients(files, inputs[a.id]) for a in actions.values()])
    assert keys[0] == keys[1]
    assert str(tmp_path) not in str(keys)


ENSEMBLE = """
name: both
version: "1.0"
inputs:  {X: {dtype: float32, shape: [batch, 4]}}
outputs: {Z: {dtype: float32, shape: [batch, 3]}}
steps: [{model: linear, version: "1.1.0", inputs: {x: X}, outputs: {y: Z}}]
"""


def test_an_ensemble_promises_what_its_weakest_member_does(tmp_path):
    model(tmp_path, spec=TWO)
    ensemble(tmp_path, "both", ENSEMBLE)
    plans = drawn(tmp_path).models
    assert plans["both"].versions[0].precision == "int8"
    assert plans["both"].versions[0].artifact is None


def test_an_ensemble_s_step_names_the_member_s_number(tmp_path):
    model(tmp_path, spec=TWO)
    ensemble(tmp_path, "both", ENSEMBLE)
    (step,) = drawn(tmp_path).actions["config both"].params["steps"]
    assert step["version"] == 1001000


def test_naming_an_ensemble_brings_its_members(tmp_path):
    model(tmp_path)
    model(tmp_path, "apart")
    ensemble(tmp_path, "both", ENSEMBLE.replace(' version: "1.1.0",', ""))
    assert load(tmp_path).closure(["both"]) == {"both", "linear"}


class Remembered:
    """What was built before, held in a dictionary."""

    def __init__(self):
        self.records, self.runs = {}, {}

    def find(self, key):
        return self.records.get(key)

    def last(self, action):
        return self.runs.get(action)

    def stale(self, _key):
        return None

    def expect(self, _keys):
        pass


def run(actions, files, memory):
    """Does everything that is missing; gives the ids of what ran."""
    ran = []
    while True:
        todo = [d for d in evaluate(actions, files, memory) if not d.hit and d.key]
        if not todo:
            return ran
        for decision in todo:
            id_ = decision.action.id
            outputs = {"out": (f"{id_} {files}", 1)}
            memory.records[decision.key] = Record(decision.key, outputs, {}, {}, {})
            ran.append(id_)


def test_a_changed_tool_redoes_what_it_can_change_and_what_depends_on_it(tmp_path):
    model(tmp_path, spec=TWO)
    echo(tmp_path)
    memory = Remembered()
    before = drawn(tmp_path)
    files = {path: "aa" for a in before.actions.values() for path in a.files.values()}
    assert set(run(before, files, memory)) == set(before.actions)
    assert run(before, files, memory) == []
    newer = Toolchain("3.11", {"torch": "2.14.0"}, TOOLCHAIN.code, TOOLCHAIN.runtime)
    todo = [d.action.id for d in evaluate(drawn(tmp_path, toolchain=newer), files, memory) if d.key]
    assert {"reference linear", "reference echo"} <= set(todo)
    server = Toolchain("3.11", {"torch": "2.13.0"}, TOOLCHAIN.code, {"ort": "1.20.0"})
    assert run(drawn(tmp_path, toolchain=server), files, memory) == [
        "prove linear 1.0",
        "prove linear 1.1",
    ]
