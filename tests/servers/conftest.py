"""Small ONNX models in a Triton repository, made for one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

OPSET, IR = 18, 9


class Repository:
    """Writes models into a Triton repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, name, nodes, inputs, outputs, config, *, versions=(1,), initializers=()):
        """Tensors are (name, ONNX dtype, shape); `nodes` may be a function of the version."""
        import onnx
        from onnx import helper

        for version in versions:
            folder = self.root / name / str(version)
            folder.mkdir(parents=True)
            graph = helper.make_graph(
                nodes(version) if callable(nodes) else nodes,
                name,
                [helper.make_tensor_value_info(*one) for one in inputs],
                [helper.make_tensor_value_info(*one) for one in outputs],
                initializer=list(initializers),
            )
            opset = [helper.make_opsetid("", OPSET)]
            model = helper.make_model(graph, opset_imports=opset, ir_version=IR)
            onnx.save(model, folder / "model.onnx")
        self.configure(name, config)

    def configure(self, name, config, *, backend="onnxruntime"):
        (self.root / name).mkdir(exist_ok=True)
        text = f'name: "{name}"\nbackend: "{backend}"\n'
        text += "instance_group { kind: KIND_CPU count: 1 }\n"
        (self.root / name / "config.pbtxt").write_text(text + config)


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    return Repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def other_repository(tmp_path) -> Repository:
    return Repository(tmp_path)
