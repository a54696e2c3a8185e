"""Loads that cannot come to anything are not tried: the server goes on, and the error is clear."""

import importlib
from dataclasses import dataclass, replace

import pytest

from builder.servers.gpus import Gpu
from builder.stages.compiling import compiler
from builder.validation.checks import room
from builder.validation.live import validate
from tests.stages import graphs
from tests.validation import zoo as models

MB = 1 << 20
PLAN = b"ftrt" + bytes(20)
OURS, OTHER = PLAN + bytes([10, 5, 0, 18]), PLAN + bytes([10, 3, 0, 26])


@dataclass(frozen=True)
class Machine:
    """What is asked of a server here."""

    has: tuple[Gpu, ...] = ()
    release: str = "24.10"

    def gpus(self):
        return self.has


def subject(tmp_path, config="", **files):
    """A model on a GPU with files of so many MB, or of these bytes, in each version."""
    described = models.subject("m", f'name: "m"\n{config}', on_gpu=tmp_path, versions=(1, 2))
    for version in ("1", "2"):
        folder = tmp_path / version
        folder.mkdir(parents=True)
        for name, content in files.items():
            head = OURS if name.startswith("plan") else b""
            file = folder / name.replace("_", ".")
            with file.open("wb") as opened:
                opened.write(head if isinstance(content, int) else content)
                if isinstance(content, int):
                    opened.truncate(content * MB)
    return described


def gpu(free, capability="9.0"):
    return Gpu("GPU-a", capability, 100 * MB, free * MB)


def test_weights_that_fit_are_no_hindrance(tmp_path):
    described = subject(tmp_path, model_onnx=1, weights_data=4)
    assert room.hindrance(Machine((gpu(10),)), described, {}) is None
    assert room.hindrance(Machine(), described, {}) is None
    assert room.hindrance(Machine((Gpu("GPU-a"),)), described, {}) is None


def test_weights_of_all_versions_must_fit_on_every_gpu(tmp_path):
    described = subject(tmp_path, model_onnx=1, weights_data=4)
    found = room.hindrance(Machine((gpu(50), gpu(9))), described, {})
    assert found.problem == "the GPU has too little memory for the model"
    assert found.found == "9.44 MB free of 105 MB on GPU-a"
    assert found.expected == "at least 10.5 MB: what its weights take"
    assert "fp16 or int8" in found.fix


def test_a_model_for_some_gpus_needs_room_on_one(tmp_path):
    config = "instance_group { kind: KIND_GPU gpus: 1 }"
    described = subject(tmp_path, config, model_onnx=5)
    assert room.hindrance(Machine((gpu(50), gpu(9))), described, {}) is None
    assert room.hindrance(Machine((gpu(5), gpu(9))), described, {}) is not None


def test_of_plans_the_gpus_own_counts(tmp_path):
    config = """cc_model_filenames { key: "8.0" value: "plan.80.plan" }
    cc_model_filenames { key: "9.0" value: "plan.90.plan" }"""
    described = subject(tmp_path, config, plan_80_plan=40, plan_90_plan=4)
    assert room.hindrance(Machine((gpu(9),)), described, {}) is None
    assert room.hindrance(Machine((gpu(9, None),)), described, {}) is None
    assert room.hindrance(Machine((gpu(9, "8.0"),)), described, {}) is not None


def test_a_plan_of_another_tensorrt_names_both(tmp_path):
    described = subject(tmp_path, model_plan=OTHER)
    found = room.hindrance(Machine(), described, {})
    assert found.problem == "1/model.plan was built by another version of TensorRT"
    assert found.found == "a plan of TensorRT 10.3.0.26"
    assert found.expected == "TensorRT 10.5.0.18, the server's"
    assert room.hindrance(Machine(release="24.08"), described, {}) is None


def test_an_ensemble_waits_for_no_member_that_cannot_load(tmp_path):
    member = room.hindrance(Machine(), subject(tmp_path, model_plan=OTHER), {})
    whole = models.subject("whole", "", ensemble=True, members=("m",))
    found = room.hindrance(Machine(), whole, {"m": member})
    assert found == replace(member, problem=f"its member m: {member.problem}")
    assert room.hindrance(Machine(), whole, {}) is None


@pytest.mark.live
@pytest.mark.export
def test_a_server_is_not_asked_to_load_a_plan_of_tensorrt_rtx(server, zoo, tmp_path):
    library = importlib.import_module("tensorrt_rtx")
    graph = tmp_path / "model.onnx"
    graphs.onnx.save(graphs.layer(), graph)
    spans = [{"x": [[1, 32], [1, 32], [1, 32]]}]
    plan = compiler.build(library, graph, spans, compiler.Options(), "m")
    described = zoo.add("of_rtx", on_gpu=zoo.root / "of_rtx")
    (zoo.root / "of_rtx" / "1" / "model.plan").write_bytes(plan.content)
    whole = zoo.add_ensemble("whole_of_rtx", "of_rtx")
    told = []
    found = validate(server, [described, whole], say=told.append)
    one, other = (verdict.failures for verdict in found)
    assert [failure.check for failure in (*one, *other)] == ["ready", "ready"]
    assert one[0].reason == "the model would not load: 1/model.plan is no plan of TensorRT's"
    assert one[0].found.startswith(f"a plan of TensorRT-RTX {library.__version__} (the load")
    assert "its member of_rtx: 1/model.plan" in other[0].reason
    assert "of_rtx: not loaded: 1/model.plan is no plan of TensorRT's" in told
    assert '"loading: of_rtx' not in server.log()
    assert server.alive()
