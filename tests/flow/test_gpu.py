"""A gpu target's build, as far as it goes where no GPU is: real exports, the real library."""

from pathlib import Path

import onnx
import pytest

from builder.engine import observed
from builder.engine import run as engine
from builder.engine.local import LocalExecutor
from builder.engine.machine import Gpu, Machine
from builder.errors import MissingError, WorkFailedError
from builder.flow import assemble
from builder.flow.context import Context
from builder.plan.evaluate import Record, ask
from builder.plan.graph import Graph, graph
from builder.spec.project import load
from builder.spec.target import Target
from builder.store.store import Store
from tests.projects import SPEC, model

REPOSITORY = Path(__file__).parents[2]
RUNTIME = {"tritonserver": "2.51.0", "onnxruntime": "1.19.2"}
GPU = Target(
    triton="24.10",
    device="gpu",
    server="container",
    formats=("tensorrt", "onnx", "python"),
    compute_capabilities=("8.0", "9.0"),
)
ONNX = GPU.model_copy(update={"formats": ("onnx", "python")})
TWO = SPEC.replace(": {{precision: fp32}}", ': {{}}\n  "1.1": {{precision: int8}}')
ODD = """
import numpy as np
import torch


class Odd(torch.nn.Module):
    def forward(self, x):
        return x * torch.linalg.det(x[:, None, None, 0, None] + torch.eye(2)).reshape(-1, 1)


def load():
    return Odd()


def samples():
    return [{"x": np.ones((n, 4), np.float32)} for n in (1, 2)]
"""


class Build:
    """A project's actions for a target, but those that ask another interpreter."""

    def __init__(self, root, store, target, *names):
        self.project, self.target = load(root), target
        self.store = Store(store, root)
        toolchain = observed.toolchain(self.project, RUNTIME)
        wanted = set(names or self.project.models)
        whole = graph(self.project, target, toolchain, wanted)
        kept = {id_: a for id_, a in whole.actions.items() if a.stage != "prove"}
        self.toolchain, self.graph = toolchain, Graph(kept, whole.models)
        self.files = observed.files(self.graph, self.store)
        self.events = []

    def run(self, *gpus):
        machine = Machine(10**11, tuple(Gpu(c) for c in gpus), 2)
        return engine.run(
            self.graph,
            self.files,
            self.store,
            executor=lambda _: LocalExecutor(self.store, 2, machine=machine),
            say=self.events.append,
        )

    def happened(self, kind):
        return {event.action for event in self.events if event.kind == kind}

    def context(self):
        return Context(
            project=self.project,
            target_name="gpu",
            target=self.target,
            names=frozenset(self.project.models),
            partial=False,
            toolchain=self.toolchain,
            graph=self.graph,
            files=self.files,
            store=self.store,
            runtime=RUNTIME,
        )


def operators(build, records, id_):
    """How often an action's graph has each operator."""
    path = build.store.file(records[id_].outputs["model.onnx"])
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    return {kind: kinds.count(kind) for kind in kinds}


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_where_no_gpu_is_everything_else_is_done_and_the_missing_ones_are_named(tmp_path):
    root = tmp_path / "project"
    model(root)
    build = Build(root, tmp_path / "store", GPU)
    with pytest.raises(MissingError, match="2 plans cannot be built here") as caught:
        build.run()
    assert caught.value.exit_code == 3
    assert caught.value.found == "no GPU"
    assert caught.value.expected == "compute capabilities 8.0, 9.0"
    assert caught.value.detail == "linear 1.0 for 8.0, 9.0"
    assert {"preflight linear 1.0", "config linear"} <= build.happened("done")


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_a_graph_that_the_preflight_refuses_fails_before_any_gpu_is_asked_for(tmp_path):
    root = tmp_path / "project"
    spec = SPEC.replace(
        "y: {{dtype: float32, shape: [batch, 3]}}", "y: {{dtype: float32, shape: [batch, 4]}}"
    )
    model(root, spec=spec, source=ODD)
    build = Build(root, tmp_path / "store", GPU)
    with pytest.raises(WorkFailedError, match="parser refuses the graph") as caught:
        build.run()
    assert caught.value.exit_code == 1
    assert caught.value.where == "preflight linear 1.0"
    assert "Det (node `" in caught.value.found
    assert build.happened("fail") == {"preflight linear 1.0"}


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_where_graphs_are_served_a_whole_build_needs_no_gpu(tmp_path):
    root = tmp_path / "project"
    model(root, spec=TWO)
    build = Build(root, tmp_path / "store", ONNX)
    records = build.run()
    assert operators(build, records, "qdq linear 1.1")["QuantizeLinear"] == 1
    entry = assemble.entries(build.context(), records)["linear"]
    assert [list(v.files) for v in entry.versions.values()] == [["model.onnx"]] * 2
    assert entry.versions["1.1"].recipe["recipe"].startswith("static-pairs")
    facts = records["preflight linear 1.1"].facts
    assert (facts["built_for"], facts["not_built_for"]) == (["8.0"], ["9.0"])
    assert not records["preflight linear 1.1"].outputs
    manifest = assemble.manifest(build.context(), {"linear": entry})
    assert not {"tensorrt-rtx", "tensorrt"} & manifest.toolchain.keys()


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_plans_that_another_machine_has_built_are_taken_where_no_gpu_is(tmp_path):
    root = tmp_path / "project"
    model(root)
    build = Build(root, tmp_path / "store", GPU)
    with pytest.raises(MissingError):
        build.run()
    done = {
        id_: build.store.last(id_).record
        for id_ in build.graph.actions
        if not id_.startswith("tensorrt")
    }
    for id_, action in build.graph.actions.items():
        if action.stage == "tensorrt":
            question = ask(action, build.files, done)
            out = {action.params["file"]: build.store.put(id_.encode())}
            build.store.keep(Record(question.key, out, {}, {}, question.ingredients))
    again = Build(root, tmp_path / "store", GPU)
    records = again.run()
    assert not again.happened("start")
    entry = assemble.entries(again.context(), records)["linear"]
    assert set(entry.versions["1.0"].files) == {"model_cc80.plan", "model_cc90.plan"}
    toolchain = assemble.manifest(again.context(), {"linear": entry}).toolchain
    assert toolchain["tensorrt"] == "10.5.0.18"
    assert "tensorrt-rtx" not in toolchain
    config = again.store.file(records["config linear"].outputs["config.pbtxt"]).read_text()
    assert 'backend: "tensorrt"' in config
    assert "KIND_GPU" in config
    for line in ('key: "8.0"', 'value: "model_cc80.plan"', 'profile: "1"'):
        assert line in config


@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_a_convnet_passes_in_every_precision(tmp_path):
    build = Build(REPOSITORY, tmp_path / "store", ONNX, "digits")
    records = build.run()
    assert records["preflight digits 1.0"].facts["profiles"] == 4
    found = operators(build, records, "qdq digits 1.1")
    assert found["Conv"] == 3
    assert found["QuantizeLinear"] == 4


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_minilm_passes_in_every_precision(tmp_path):
    """Half of its linear layers are int8, and no sentence of its samples is far off."""
    build = Build(REPOSITORY, tmp_path / "store", ONNX, "minilm")
    records = build.run()
    for version in ("1.0", "1.1"):
        assert records[f"preflight minilm {version}"].facts["built_for"] == ["8.0"]
    facts = records["qdq minilm 1.1"].facts
    assert facts["agreement"]["sentence_embedding"]["cosine_min"] > 0.985
    assert facts["size"] < 0.45 * facts["size_fp32"]
    assert operators(build, records, "qdq minilm 1.1")["QuantizeLinear"] >= 12
