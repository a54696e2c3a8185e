"""ONNX Runtime's TensorRT provider: what a config tells it, and where there is none."""

import pytest
from pydantic import ValidationError

from builder.errors import InputError
from builder.spec.target import Graphs, Target
from tests.plan.gpus import ONE, THREE, drawn, gpu, rendered
from tests.projects import model

ACCELERATED = """\
optimization {
  execution_accelerators {
    gpu_execution_accelerator {
      name: "tensorrt"
      parameters {
        key: "max_workspace_size_bytes"
        value: "2000000000"
      }
      parameters {
        key: "precision_mode"
        value: "FP16"
      }
      parameters {
        key: "trt_profile_max_shapes"
        value: "x:8x4"
      }
      parameters {
        key: "trt_profile_min_shapes"
        value: "x:1x4"
      }
      parameters {
        key: "trt_profile_opt_shapes"
        value: "x:8x4"
      }
    }
  }
}
"""
TRT = Graphs(accelerator="tensorrt", workspace="2GB")


def test_the_accelerator_is_told_precision_workspace_and_all_shapes(tmp_path):
    model(tmp_path, spec=ONE)
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT)
    text, config = rendered(tmp_path, target)
    assert ACCELERATED in text
    (one,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert one.name == "tensorrt"
    for precision, mode in (("fp32", "FP32"), ("int8", "INT8")):
        model(tmp_path, spec=ONE.replace("{{}}", f"{{{{precision: {precision}}}}}"))
        assert f'value: "{mode}"' in rendered(tmp_path, target)[0]


def test_a_release_that_takes_no_shapes_is_told_none(tmp_path):
    model(tmp_path, spec=ONE)
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT, triton="24.03")
    assert "precision_mode" in rendered(tmp_path, target)[0]
    assert "trt_profile" not in rendered(tmp_path, target)[0]


def test_a_model_may_have_the_accelerator_alone_or_go_without(tmp_path):
    plain = gpu("8.0", formats=("onnx",))
    model(tmp_path, spec=ONE + "gpu: {accelerator: tensorrt}\n")
    assert 'name: "tensorrt"' in rendered(tmp_path, plain)[0]
    assert "optimization" not in rendered(tmp_path, gpu("8.0"))[0]  # a plan has nothing to gain
    model(tmp_path, spec=ONE + "gpu: {accelerator: none}\n")
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT)
    assert "optimization" not in rendered(tmp_path, target)[0]


def test_versions_of_several_precisions_have_no_accelerator_in_common(tmp_path):
    model(tmp_path, spec=THREE)
    target = gpu("8.0", formats=("onnx",), onnxruntime=TRT)
    with pytest.raises(InputError, match="one precision for all versions") as caught:
        drawn(tmp_path, target)
    assert caught.value.found == "1.0: fp32, 1.1: fp16, 1.2: int8"
    assert caught.value.where.startswith("models/linear/model.yaml:")
    assert "accelerator: none" in caught.value.fix


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"device": "cpu", "server": "embedded", "formats": ("onnx",)}, "expected device = gpu"),
        ({"device": "gpu", "server": "container", "formats": ("tensorrt",)}, "all become plans"),
    ],
)
def test_an_accelerator_where_it_has_nothing_to_do_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        Target(triton="24.10", onnxruntime=TRT, **changes)
