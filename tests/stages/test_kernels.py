"""Kernels that a release's ONNX Runtime lacks although the build's own has them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from builder.stages import artifact
from builder.stages.exporting.kernels import keep_transposes, widen_recent
from builder.stages.goldens import Golden


def saved(folder, element, nodes, out=None, axes=1):
    """A model from `x` to `y`, arrays of some axes and element type; gives its path."""
    types = {"x": element, "y": element if out is None else out}
    x, y = (helper.make_tensor_value_info(n, types[n], [None] * axes) for n in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    artifact.write(model, folder)
    return folder / artifact.FILE


def answer(folder, x):
    return next(artifact.answers(artifact.session(folder), [Golden({"x": x}, {})]))["y"]


def reads(path, kind):
    """The dtypes at which nodes of a kind read, as far as casts say."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    casts = {n.output[0]: n.attribute[0].i for n in model.graph.node if n.op_type == "Cast"}
    return [casts.get(name) for n in model.graph.node if n.op_type == kind for name in n.input]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "uint32"])
def test_arithmetic_of_small_integers_runs_wide_and_wraps_as_before(tmp_path, dtype):
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    path = saved(tmp_path, element, [helper.make_node("Add", ["x", "x"], ["y"], name="a")])
    assert widen_recent(path) == {"Add"}
    assert reads(path, "Add") == [TensorProto.INT64] * 2
    x = np.array([1, 3, np.iinfo(dtype).max], dtype)
    np.testing.assert_array_equal(answer(tmp_path, x), x + x)


def test_a_comparison_keeps_its_answer(tmp_path):
    node = helper.make_node("Greater", ["x", "x"], ["y"])
    path = saved(tmp_path, TensorProto.UINT8, [node], TensorProto.BOOL)
    assert widen_recent(path) == {"Greater"}
    assert answer(tmp_path, np.array([1, 2], np.uint8)).tolist() == [False, False]


def test_what_every_release_has_stays_as_it_is(tmp_path):
    path = saved(tmp_path, TensorProto.FLOAT, [helper.make_node("Add", ["x", "x"], ["y"])])
    before = path.read_bytes()
    assert widen_recent(path) == set()
    assert not keep_transposes(path)
    assert path.read_bytes() == before


def test_a_transposed_double_product_is_not_left_to_a_fusion_without_kernel(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    path = saved(tmp_path, TensorProto.DOUBLE, nodes, axes=2)
    assert keep_transposes(path)
    assert "Transpose" not in {node.op_type for node in onnx.load(path).graph.node}
    x = np.random.default_rng(0).normal(size=(3, 5))
    np.testing.assert_allclose(answer(tmp_path, x), x @ x.T)
