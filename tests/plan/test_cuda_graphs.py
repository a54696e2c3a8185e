"""Shapes at which plans are captured as CUDA graphs."""

import pytest

from builder.errors import BuilderError, SeveralError
from builder.spec.project import load
from tests.plan.gpus import CPU, THREE, gpu, rendered
from tests.projects import model

LONG = THREE.replace("shape: [batch, 4]", "shape: [batch, length]").replace(
    "  batch: {{max: 8}}", "  batch: {{max: 8}}\n  length: {{min: 2, max: 9}}"
)


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
