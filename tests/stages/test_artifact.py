"""A model whose weights lie beside its graph, as the store gives it: every file a hard link."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from builder.stages import artifact


def tensor(name, value):
    return numpy_helper.from_array(np.full((64,), value, dtype=np.float32), name)


def branch(name, value):
    """A graph that answers a weight of its own."""
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [64])
    node = helper.make_node("Identity", [f"{name}_w"], [name])
    return helper.make_graph([node], name, [], [out], [tensor(f"{name}_w", value)])


@pytest.fixture
def model():
    """Weights of the graph, of a constant, and of both branches of a condition."""
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("v", 3)),
        helper.make_node(
            "If", ["flag"], ["one"], then_branch=branch("yes", 5), else_branch=branch("no", 7)
        ),
        helper.make_node("Sum", ["w", "c", "one"], ["y"]),
    ]
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [64])
    graph = helper.make_graph(nodes, "g", [flag], [y], [tensor("w", 2)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def folder(model, tmp_path):
    made, given = tmp_path / "made", tmp_path / "given"
    made.mkdir()
    given.mkdir()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(
        copy, made / artifact.FILE, save_as_external_data=True, location=artifact.WEIGHTS,
        size_threshold=0, convert_attribute=True,
    )  # fmt: skip
    for file in made.iterdir():
        os.link(file, given / file.name)
    return given


def test_weights_beside_the_graph_are_read_out_of_hard_links(model, folder):
    assert (folder / artifact.WEIGHTS).stat().st_size == 4 * 64 * 4
    assert artifact.read(folder) == model


def test_what_was_read_needs_no_file_any_more(folder):
    found = artifact.read(folder)
    for file in folder.iterdir():
        file.unlink()
    (y,) = artifact.session(found).run(["y"], {"flag": np.array(False)})  # noqa: FBT003
    assert y.tolist() == [12.0] * 64
