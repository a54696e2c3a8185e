"""The stage `export`: names, bytes, dtypes and dimensions of the file, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx.version_converter
import onnxruntime as ort
import pytest

from builder.errors import InputError, WorkFailedError
from builder.stages import export, goldens, reference
from builder.stages.exporting import onnx_graph
from builder.stages.job import Job

pytestmark = pytest.mark.export

ROW = {"dtype": "float32", "shape": ["batch", 4]}
SPEC = {
    "source": "models/x/source.py:load",
    "samples": "models/x/source.py:samples",
    "version": None,
    "weights": None,
    "inputs": {"x": ROW},
    "outputs": {"y": ROW},
    "dims": {"batch": {"min": 1, "max": 8}},
    "opset": 20,
    "ir_version": 10,
}


def project(folder: Path, forward: str, parts: str = "pass", samples: str | None = None) -> None:
    samples = samples or "[{'x': np.random.rand(2, 4).astype('f4')}]"
    (folder / "models/x").mkdir(parents=True, exist_ok=True)
    (folder / "models/x/source.py").write_text(
        "import numpy as np, torch\n"
        "class M(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        f"        {parts}\n"
        "    def forward(self, x, *more):\n"
        f"        {forward}\n"
        "def load():\n    return M()\n"
        f"def samples():\n    return {samples}\n"
    )


def build(folder: Path, **changes: object) -> tuple[dict, Path]:
    params = {**SPEC, **changes}
    for name in ("reference", "export"):
        (folder / name).mkdir(exist_ok=True)
    reference.run(Job(params, {}, folder, folder / "reference", "x 1.0: reference"))
    inputs = {"reference": folder / "reference"}
    facts = export.run(Job(params, inputs, folder, folder / "export", "x 1.0: export"))
    return facts, folder / "export" / onnx_graph.FILE


def shapes(values) -> dict[str, list]:
    return {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values
    }


def test_the_file_has_the_specs_names_order_and_dimensions(tmp_path):
    project(
        tmp_path,
        "return x @ x.mT, more[0] + 1, self.embedding(x)",
        "self.embedding = torch.nn.Linear(4, 4)",
        "[{'x': np.ones((2, 3, 4), 'f4'), 'add': np.int64(3), 'unused': np.ones(2, bool)}]",
    )
    inputs = {
        "x": {"dtype": "float32", "shape": ["batch", "n", 4]},
        "add": {"dtype": "int64", "shape": []},
        "unused": {"dtype": "bool", "shape": ["batch"]},
    }
    outputs = {
        "matmul": {"dtype": "float32", "shape": ["batch", "n", "n"]},
        "linear": {"dtype": "int64", "shape": []},
        "embedding": {"dtype": "float32", "shape": ["batch", "n", 4]},
    }
    dims = {**SPEC["dims"], "n": {"min": 1, "max": 9}}
    facts, path = build(tmp_path, inputs=inputs, outputs=outputs, dims=dims)
    graph = onnx.load(path).graph
    assert shapes(graph.input) == {name: t["shape"] for name, t in inputs.items()}
    assert shapes(graph.output) == {name: t["shape"] for name, t in outputs.items()}
    assert facts["sizes"]["n"] == [1, 3, 6]
    assert [r for r in facts["reads"] if ":" not in r] == ["models/x/source.py"]


def test_inner_values_do_not_bear_the_specs_names(tmp_path):
    project(tmp_path, "return self.y(x) * 2", "self.y = torch.nn.Linear(4, 4)")
    build(tmp_path, outputs={"linear": ROW})
    build(tmp_path, outputs={"mul": ROW})
    _, path = build(tmp_path, outputs={"model.y.weight": ROW})
    onnx.checker.check_model(str(path))


def test_outputs_may_be_inputs_constants_and_each_other(tmp_path):
    project(
        tmp_path, "y = x * 2; return x, self.w, y, y", "self.w = torch.nn.Parameter(torch.ones(3))"
    )
    constant = {"dtype": "float32", "shape": [3]}
    _, path = build(tmp_path, outputs={"a": ROW, "b": constant, "c": ROW, "d": ROW})
    found = ort.InferenceSession(path).run(None, {"x": np.ones((5, 4), np.float32)})
    assert [f.flat[0] for f in found] == [1, 1, 2, 2]


ATTENTION = "q = x.unsqueeze(1); return torch.onnx.ops.attention(q, q, q)[0].squeeze(1)"
"""Through an operator that came with opset 23, here by three rows of a batch."""
ROWS = {"dtype": "float32", "shape": ["batch", "n", 4]}
ATTENDING: dict = {
    "inputs": {"x": ROWS},
    "outputs": {"y": ROWS},
    "dims": {"batch": {"min": 1, "max": 8}, "n": {"min": 1, "max": 9}},
}
THREE = "[{'x': np.random.rand(2, 3, 4).astype('f4')}]"


def test_an_operator_that_is_too_new_for_the_release_is_refused_by_its_node(tmp_path):
    project(tmp_path, ATTENTION, samples=THREE)
    with pytest.raises(WorkFailedError) as caught:
        build(tmp_path, **ATTENDING, loads={"opset": 21, "ir_version": 10})
    assert "would not load" in caught.value.problem
    assert caught.value.found.startswith("Attention (node `")
    assert "opset 23, 21 is loaded" in caught.value.found
    assert "opset 21" in caught.value.expected
    assert "releases --triton" in caught.value.fix


def test_a_release_that_loads_the_newer_opset_gets_it(tmp_path):
    project(tmp_path, ATTENTION, samples=THREE)
    facts, path = build(tmp_path, **ATTENDING, loads={"opset": 23, "ir_version": 11})
    assert (facts["way"], facts["opset"], facts["ir_version"]) == ("dynamo", 23, 10)
    assert "Attention" in {node.op_type for node in onnx.load(path).graph.node}


def test_what_needs_no_newer_opset_stays_at_the_one_wanted(tmp_path):
    project(tmp_path, "return torch.nn.functional.gelu(x)")
    facts, path = build(tmp_path, loads={"opset": 26, "ir_version": 13})
    assert (facts["opset"], facts["ir_version"]) == (20, 10)
    before = path.read_bytes()
    build(tmp_path)
    assert path.read_bytes() == before


def test_an_operator_of_nobody_s_domain_is_refused_by_its_node(tmp_path):
    twice = "torch.onnx.ops.symbolic('nowhere::Twice', (x,), dtype=x.dtype, shape=x.shape)"
    project(tmp_path, f"return {twice}")
    with pytest.raises(WorkFailedError) as caught:
        build(tmp_path, loads={"opset": 21, "ir_version": 10})
    assert "nowhere::Twice" in caught.value.found
    assert "a domain that ONNX Runtime does not know" in caught.value.found


def test_opset_and_ir_version_are_those_asked_for(tmp_path):
    project(tmp_path, "return torch.nn.functional.gelu(x)")
    for opset, ir_version in ((18, 8), (20, 10)):
        facts, path = build(tmp_path, opset=opset, ir_version=ir_version)
        model = onnx.load(path)
        assert (model.opset_import[0].version, model.ir_version) == (opset, ir_version)
        assert (facts["opset"], facts["ir_version"]) == (opset, ir_version)


SCRIPT = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from test_export import build, project
folder = pathlib.Path(sys.argv[1]); folder.mkdir(parents=True)
project(folder, "return self.l(self.h(x)[None])[0][0]",
    "self.h = torch.nn.Linear(4, 4); self.l = torch.nn.GRU(4, 4)")
build(folder)
"""


def test_bytes_are_equal_across_folders_processes_and_hash_seeds(tmp_path):
    digests = set()
    for number, folder in enumerate(("a", "deep/er/b")):
        place = tmp_path / folder
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(place), str(Path(__file__).parent)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
        )
        digests |= {hashlib.sha256((place / "export/model.onnx").read_bytes()).hexdigest()}
    assert len(digests) == 1


def test_large_weights_lie_beside_the_file(tmp_path):
    project(tmp_path, "return self.l(x)", "self.l = torch.nn.Linear(4, 400, bias=False)")
    wide = {"dtype": "float32", "shape": ["batch", 400]}
    _, path = build(tmp_path, outputs={"y": wide}, external_data_above=1000)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert path.with_name("model.onnx.data").stat().st_size == 6400
    assert path.stat().st_size < 6400
    ort.InferenceSession(path).run(None, {"x": np.ones((1, 4), np.float32)})


@pytest.mark.parametrize(
    "forward",
    [
        "return x * (2 if x.shape[0] > 1 else 3)",
        "return x + sum(x[i] for i in range(int(x.shape[0])))",
    ],
)
def test_a_dimension_that_the_export_fixes_is_named_with_its_size(tmp_path, forward):
    project(tmp_path, forward)
    with pytest.raises(InputError) as caught:
        build(tmp_path, ways=["dynamo", "torchscript"])
    error = caught.value
    assert error.where == "models/x/model.yaml dims.batch"
    assert "`batch`" in error.problem
    assert error.found.endswith(": 2")
    assert error.expected == "batch from 1 to 8"
    assert "models/x/source.py:8" in error.fix
    assert not list((tmp_path / "export").iterdir())


def test_a_shape_that_goes_wrong_at_an_allowed_size_is_refused(tmp_path):
    project(tmp_path, "return x.squeeze()")
    with pytest.raises(InputError, match="batch = 1") as caught:
        build(tmp_path)
    assert caught.value.where == "models/x/model.yaml outputs.y"


def test_sizes_that_the_model_itself_refuses_are_passed_over(tmp_path):
    project(tmp_path, "return x.reshape(-1, 2, 4).flip(1).reshape(-1, 4)")
    facts, _ = build(tmp_path)
    assert facts["sizes"]["batch"] == [2, 4]


@pytest.mark.parametrize("size", [3, 1], ids=["to export at", "to be proven at"])
@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_a_machine_that_is_full_is_no_size_that_the_model_refuses(tmp_path, error, size):
    project(
        tmp_path,
        f"if x.shape[0] == {size}: raise {error.__name__}('full')\n        return x * 2",
    )
    with pytest.raises(error, match="full"):
        build(tmp_path)


@pytest.mark.parametrize("error", [MemoryError, OSError])
@pytest.mark.parametrize("step", ["InferenceSession", "convert_version"])
def test_nor_is_it_a_way_that_does_not_work(tmp_path, monkeypatch, error, step):
    def full(*_args, **_options):
        raise error("full")

    place = ort if step == "InferenceSession" else onnx.version_converter
    monkeypatch.setattr(place, step, full)
    project(tmp_path, "return x * 2")
    with pytest.raises(error, match="full"):
        build(tmp_path, ways=["dynamo"], opset=17, ir_version=8)


def test_a_model_that_no_way_exports_says_what_each_met(tmp_path):
    project(tmp_path, "return x @ torch.linalg.inv(x.mT @ x + torch.eye(4))")
    with pytest.raises(WorkFailedError) as caught:
        build(tmp_path)
    assert "dynamo: " in caught.value.detail
    assert "torchscript: " in caught.value.detail
    assert caught.value.where == "x 1.0: export"


def test_what_the_first_way_cannot_do_another_does_and_it_is_recorded(tmp_path):
    project(tmp_path, "return torch.cdist(x, self.p)", "self.p = torch.nn.Parameter(torch.eye(4))")
    facts, _ = build(tmp_path)
    assert facts["way"] == "torchscript"
    assert facts["tried"][0]["way"] == "dynamo"
    assert "_cdist_forward" in facts["tried"][0]["why"]


def test_operators_without_a_kernel_run_at_a_dtype_that_has_one(tmp_path):
    project(
        tmp_path,
        "return torch.nn.functional.gelu(x) + torch.erf(x)",
        samples="[{'x': np.random.rand(2, 4)}]",
    )
    double = {"dtype": "float64", "shape": ["batch", 4]}
    facts, _ = build(tmp_path, inputs={"x": double}, outputs={"y": double})
    assert "Erf" in facts["widened"]
    assert facts["agreement"]["y"]["relative"] < 1e-5


def test_agreement_can_be_asked_more_strictly_and_failing_it_fails(tmp_path):
    project(
        tmp_path,
        "return torch.nn.functional.gelu(x)",
        samples="[{'x': np.random.rand(2, 4)}]",
    )
    double = {"dtype": "float64", "shape": ["batch", 4]}
    with pytest.raises(WorkFailedError) as caught:
        build(
            tmp_path,
            inputs={"x": double},
            outputs={"y": double},
            tolerance={"relative": 1e-15},
            ways=["dynamo"],
        )
    assert "at most 1e-15" in caught.value.detail


def test_goldens_are_read_from_the_reference(tmp_path):
    project(tmp_path, "return x * 2")
    build(tmp_path)
    params = {**SPEC, "ways": ["dynamo"]}
    path = tmp_path / "reference" / goldens.FILE
    wrong = [goldens.Golden(g.inputs, {"y": g.outputs["y"] + 1}) for g in goldens.read(path)]
    goldens.write(path, wrong)
    with pytest.raises(WorkFailedError) as caught:
        export.run(Job(params, {"reference": path.parent}, tmp_path, tmp_path / "export", "x"))
    assert "sample 0" in caught.value.detail
