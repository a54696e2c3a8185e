"""What TensorRT-RTX takes and refuses: real graphs, the real library, no GPU."""

import importlib
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from builder.errors import MissingError, WorkFailedError
from builder.stages import artifact, preflight
from builder.stages.compiling import compiler
from tests.stages import graphs
from tests.stages.graphs import X, Y, random

pytestmark = pytest.mark.export

ONE = {"x": [[1, 32], [1, 32], [1, 32]]}
MANY = {"x": [[2, 32], [8, 32], [32, 32]]}
W = random(32, 16, seed=1)


def asked(tmp_path, model, profiles=(ONE, MANY), capabilities=("8.0", "8.9")):
    job = graphs.job(tmp_path, None, X, Y, [], profiles=profiles, capabilities=capabilities)
    artifact.write(model, job.inputs["onnx"])
    facts = preflight.run(job)
    assert not list(job.out.iterdir())
    return facts


def refused(tmp_path, model, **options):
    with pytest.raises(WorkFailedError) as caught:
        asked(tmp_path, model, **options)
    return caught.value


def made(*nodes, opsets=(), inputs=X, **constants):
    model = graphs.model(list(nodes), constants, inputs, Y)
    model.opset_import.extend(helper.make_opsetid(*opset) for opset in opsets)
    return model


def node(kind, inputs, outputs, **attributes):
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def test_a_graph_that_it_takes_leaves_facts_and_no_plan(tmp_path):
    assert asked(tmp_path, graphs.layer()) == {
        "library": f"tensorrt-rtx {importlib.import_module('tensorrt_rtx').__version__}",
        "layers": 2,
        "profiles": 2,
        "built_for": ["8.0", "8.9"],
        "not_built_for": [],
    }


def test_which_gpus_it_builds_for_is_said(tmp_path):
    every = ("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "12.0", "12.1")
    facts = asked(tmp_path, graphs.layer(), capabilities=every)
    assert facts["built_for"] == ["8.0", "8.6", "8.9", "12.0", "12.1"]
    assert facts["not_built_for"] == ["7.5", "8.7", "9.0", "10.0"]


@pytest.mark.parametrize("capabilities", [("9.0",), ("7.5",), ()])
def test_where_it_builds_for_none_of_them_another_stands_in_and_that_is_said(
    tmp_path, capabilities
):
    facts = asked(tmp_path, graphs.layer(), capabilities=capabilities)
    assert facts["built_for"] == []
    assert facts["not_built_for"] == list(capabilities)
    assert facts["stand_in"] == "8.9"


def test_a_contrib_operator_is_refused_by_its_node(tmp_path):
    model = made(
        node("FastGelu", "x", "t", name="gelu", domain="com.microsoft"),
        node("MatMul", "t w", "y", name="product"),
        opsets=[("com.microsoft", 1)],
        w=W,
    )
    error = refused(tmp_path, model)
    assert "com.microsoft::FastGelu (node `gelu`): INVALID_NODE" in error.found
    assert "Plugin not found" in error.found
    assert "product" not in error.found
    assert "operators of ONNX itself" in error.fix


def test_every_node_that_it_has_not_is_named(tmp_path):
    model = made(
        node("DynamicQuantizeLinear", "x", "q s z", name="quantise"),
        node("MatMulInteger", "q w z", "i", name="multiply"),
        node("Cast", "i", "y", name="cast", to=TensorProto.FLOAT),
        w=(W * 10).astype(np.int8),
    )
    error = refused(tmp_path, model)
    assert "DynamicQuantizeLinear (node `quantise`): UNSUPPORTED_NODE" in error.found
    assert "MatMulInteger (node `multiply`): UNSUPPORTED_NODE" in error.found
    assert "cast" not in error.found
    assert "`precision: int8` for a gpu target" in error.fix


@pytest.mark.parametrize("zero", [np.uint8(128), np.int8(3)])
def test_an_asymmetric_pair_is_refused_by_its_node(tmp_path, zero):
    model = made(
        node("QuantizeLinear", "x s z", "q", name="down"),
        node("DequantizeLinear", "q s z", "d", name="up"),
        node("MatMul", "d w", "y", name="product"),
        w=W,
        s=np.float32(0.1),
        z=zero,
    )
    error = refused(tmp_path, model)
    assert "QuantizeLinear (node `down`)" in error.found
    assert "Non-zero zero point is not supported" in error.found
    assert "symmetric" in error.fix


def test_a_bias_in_integers_is_refused_by_its_node(tmp_path):
    model = made(
        node("DequantizeLinear", "b s", "c", name="bias"),
        node("Gemm", "x w c", "y", name="product"),
        w=W,
        b=np.ones(16, np.int32),
        s=np.float32(0.1),
    )
    error = refused(tmp_path, model)
    assert "DequantizeLinear (node `bias`)" in error.found
    assert "input has type Int32" in error.found
    assert "cudaError" not in str(error)


def test_a_symmetric_pair_is_taken(tmp_path):
    model = made(
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w t k", "v", axis=1),
        node("MatMul", "d v", "y"),
        w=(W * 10).astype(np.int8),
        t=np.full(16, 0.1, np.float32),
        k=np.zeros(16, np.int8),
        s=np.float32(0.1),
        z=np.int8(0),
    )
    assert asked(tmp_path, model)["built_for"] == ["8.0", "8.9"]


def test_a_node_in_a_branch_is_named_with_where_it_is(tmp_path):
    value = helper.make_tensor_value_info
    then = helper.make_graph(
        [node("Unique", "x", "u", name="deep")], "then", [], [value("u", 1, ["n"])]
    )
    other = helper.make_graph(
        [node("Identity", "x", "v")], "other", [], [value("v", 1, ["batch", 32])]
    )
    model = made(
        node("ReduceSum", "x", "s", keepdims=0),
        node("Greater", "s k", "c"),
        node("If", "c", "y", name="either", then_branch=then, else_branch=other),
        k=np.float32(0),
    )
    assert "Unique (node `deep`) in " in refused(tmp_path, model).found
    assert "either (If)" in refused(tmp_path / "again", model).found


def test_a_node_without_a_name_is_told_by_its_place(tmp_path):
    model = made(node("MatMul", "x w", "t"), node("Unique", "t", "y"), w=W)
    assert "Unique (node `#1`): UNSUPPORTED_NODE" in refused(tmp_path, model).found


def test_an_input_whose_type_it_has_not_is_named(tmp_path):
    model = made(node("Cast", "x", "y", to=TensorProto.FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT16
    assert "input `x` (uint16): UNSUPPORTED_NODE" in refused(tmp_path, model).found


def test_what_its_builder_refuses_is_told_in_its_words(tmp_path):
    model = made(
        node("Reshape", "x shape", "r", name="reshape"),
        node("MatMul", "r w", "y", name="product"),
        shape=np.array([4, 32]),
        w=W,
    )
    error = refused(tmp_path, model)
    assert "builder refuses" in error.problem
    assert "reshape changes volume. Reshaping [1,32] to [4,32]" in error.found
    assert "`dims` in model.yaml" in error.fix


def test_a_turing_gpu_is_left_out_since_its_builder_has_no_fp32_products_there(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    model = graphs.model([node("MatMul", "x w", "y", name="product")], {"w": W}, X, Y)
    artifact.write(model, folder)
    trt = importlib.import_module("tensorrt_rtx")
    options = compiler.Options(capabilities=("SM75",))
    with pytest.raises(WorkFailedError, match="builder refuses") as caught:
        compiler.build(trt, folder / artifact.FILE, [ONE], options, "here")
    assert caught.value.found.startswith("MatMul (node `product`): ")
    assert "FP32 GEMM is not supported" in caught.value.found


def test_where_the_package_is_missing_its_command_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, preflight.LIBRARY, None)
    with pytest.raises(MissingError) as caught:
        asked(tmp_path, graphs.layer())
    assert caught.value.exit_code == 3
    assert "pip install 'tensorrt-rtx>=" in caught.value.fix


AGAIN = """
import gc, sys
from pathlib import Path
import tensorrt_rtx
from builder.errors import WorkFailedError
from builder.stages.compiling import compiler

folder = Path(sys.argv[1])
profiles = [{"x": [[1, 32], [1, 32], [1, 32]]}]
options = compiler.Options(capabilities=("SM80",))
gc.set_threshold(10**6)
try:
    compiler.build(tensorrt_rtx, folder / "bad.onnx", profiles, options, "here")
except WorkFailedError as error:
    error.itself = error  # garbage that only a collection frees
made = compiler._log


def collecting(library):
    log = made(library)
    heard = type(log).log

    def also(self, severity, message):
        if gc.isenabled():  # as Python may at any allocation
            gc.collect()
        heard(self, severity, message)

    type(log).log = also
    return log


compiler._log = collecting
print(compiler.build(tensorrt_rtx, folder / "good.onnx", profiles, options, "here").layers)
"""


def test_an_earlier_refusal_is_not_freed_while_the_library_holds_a_lock(tmp_path):
    bad = made(node("Unique", "x", "y"))
    (tmp_path / "bad.onnx").write_bytes(bad.SerializeToString())
    (tmp_path / "good.onnx").write_bytes(graphs.layer().SerializeToString())
    command = [sys.executable, "-c", AGAIN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "2"
