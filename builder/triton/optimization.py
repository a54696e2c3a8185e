"""What a config says about running faster on a GPU, in Triton's own words.

CUDA graphs are the TensorRT backend's: it captures one for each `graph_spec`, and takes one whose
shapes are just those of a batch (tensorrt_backend, instance_state.cc). The ONNX Runtime backend
does not read them. Its accelerator `tensorrt` has parameters of its own (onnxruntime_backend,
README.md, "ONNX Runtime with TensorRT optimization"). Nothing of this was run on a GPU here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.spec.tensor import BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.spec.tensor import Tensor
    from builder.spec.tolerance import Precision
    from builder.triton.profiles import Profile

PRECISIONS: Mapping[Precision, str] = {"fp32": "FP32", "fp16": "FP16", "int8": "INT8"}
"""What TensorRT may compute in, by what the graph is in."""

PROFILED = "24.04"
"""The first release known to hand ONNX Runtime the shapes to build for."""


def cuda_graphs(
    inputs: Mapping[str, Tensor], shapes: Sequence[Mapping[str, int]], *, batched: bool
) -> dict[str, Any]:
    """A ModelOptimizationPolicy with a graph for each of some shapes.

    Args:
        inputs: the spec's.
        shapes: for each graph the size of every named dimension.
        batched: whether the first dimension of the inputs is Triton's batch.
    """
    specs = [_spec(inputs, sizes, batched=batched) for sizes in shapes]
    return {"cuda": {"graphs": True, "graph_spec": specs}}


def accelerated(
    precision: Precision, profiles: Iterable[Profile], *, workspace: int | None, profiled: bool
) -> dict[str, Any]:
    """A ModelOptimizationPolicy that has ONNX Runtime's TensorRT run a graph.

    It builds while the model loads, for all shapes that the spec allows; told none, it would build
    again, while a request waits, whenever one is larger than those before.

    Args:
        precision: of the graph.
        profiles: as a plan's would be.
        workspace: most bytes of GPU memory while it works.
        profiled: whether the release takes shapes to build for.
    """
    parameters = {"precision_mode": PRECISIONS[precision]}
    if workspace is not None:
        parameters["max_workspace_size_bytes"] = str(workspace)
    every = list(profiles)
    if profiled and any(span.least != span.most for one in every for span in one.values()):
        first, last = every[0], every[-1]  # the smallest batches and the largest
        ends = {"min": [(n, s.least) for n, s in first.items()]}
        ends["opt"] = ends["max"] = [(n, s.most) for n, s in last.items()]
        for kind, shapes in ends.items():
            parameters[f"trt_profile_{kind}_shapes"] = ",".join(
                f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes
            )
    one = {"name": "tensorrt", "parameters": parameters}
    return {"execution_accelerators": {"gpu_execution_accelerator": [one]}}


def _spec(
    inputs: Mapping[str, Tensor], sizes: Mapping[str, int], *, batched: bool
) -> dict[str, Any]:
    dims = {}
    for name, tensor in inputs.items():
        axes = tensor.shape[1:] if batched else tensor.shape
        dims[name] = {"dim": [sizes[axis] if isinstance(axis, str) else axis for axis in axes]}
    return {"batch_size": sizes[BATCH] if batched else 0, "input": dims}
