"""What is in the keys of plans, and what is not."""

import pytest

from builder.plan.evaluate import Record, evaluate
from builder.plan.toolchain import Toolchain
from builder.spec.target import Plans
from tests.plan.gpus import TOOLCHAIN, drawn, gpu, keyless
from tests.plan.test_graph import Remembered
from tests.projects import model


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
