"""Graphs in fp16, by ONNX Runtime's own converter; inputs and outputs stay as they are.

What must stay fp32 is named by whoever converts: nodes whose values leave fp16's range in the
samples (a CPU computes in fp32 and would not show the overflow that a GPU meets), operators that
lose most.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from builder.stages import artifact
from builder.stages.quantising import linear

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from builder.stages.goldens import Golden

LARGEST = 65504 / 4
"""Magnitude from which a value is kept fp32: others than the samples may be larger yet."""

MASK = 1e30
"""Magnitude from which a value stands for infinity, as in attention masks; fp16 may clip it."""

GUARDS = ("Clip",)
"""Always fp32. They guard divisions with bounds that fp16 has not, and on the CPU ONNX
Runtime 1.19 takes fp16's missing upper bound for 0: every answer was infinite."""

ARITHMETIC = frozenset(
    {
        *("Abs", "Add", "Cast", "Ceil", "Div", "Exp", "Floor", "Log", "Max"),
        *("Min", "Mul", "Neg", "Pow", "Round", "Sqrt", "Sub", "Where"),
    }
)
INTEGERS = frozenset(range(2, 8)) | {12, 13}
"""What `_integral` follows, and where it starts: TensorProto's integer types."""

SUMS = (
    "CumSum",
    "Exp",
    "LayerNormalization",
    "Log",
    "Pow",
    "ReduceL2",
    "ReduceMean",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Softmax",
    "LogSoftmax",
)
"""Operators that add or multiply many values up."""


def kept(model: onnx.ModelProto, samples: Sequence[Golden]) -> list[str]:
    """Names of the nodes that stay fp32 from the start; nodes without one are given one."""
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}.{place}"
    return sorted({*_wide(model, samples), *_integral(model)})


def convert(
    source: onnx.ModelProto, operators: Sequence[str], nodes: Sequence[str]
) -> onnx.ModelProto:
    """A copy in fp16 but for these operators, and the nodes of these names."""
    import onnx
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = onnx.ModelProto()
    model.CopyFrom(source)  # the converter edits what it is given
    large = model.ByteSize() > artifact.PROTOBUF_LIMIT  # inference would have to serialise it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constants beyond fp16's range are clipped, and judged
        made: onnx.ModelProto = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=large,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *operators],
            node_block_list=list(nodes),
        )
    _join(made, {node.name for node in source.graph.node})
    OnnxModel(made).topological_sort(is_deterministic=True)
    return made


def _join(model: onnx.ModelProto, own: set[str]) -> None:
    """Lets a value between two fp32 nodes stay fp32.

    The converter narrows what a node kept fp32 gives and widens what the next one takes,
    and what leaves fp16's range is lost in between. Its casts are the nodes not in `own`:
    those to fp16 start from fp32 values, those to fp32 from fp16.
    """
    from onnx import TensorProto

    graph = model.graph
    casts = [node for node in graph.node if node.op_type == "Cast" and node.name not in own]
    to = {node.name: node.attribute[0].i for node in casts}
    narrowed = {n.output[0]: n.input[0] for n in casts if to[n.name] == TensorProto.FLOAT16}
    widened = {
        n.output[0]: narrowed[n.input[0]]
        for n in casts
        if to[n.name] == TensorProto.FLOAT and n.input[0] in narrowed
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = widened.get(name, name)
    for _ in range(2):  # a pair goes from its end
        read = {name for node in graph.node for name in linear.reads(node)}
        read |= {output.name for output in graph.output}
        kept = [n for n in graph.node if n.name not in to or read.intersection(n.output)]
        del graph.node[:]
        graph.node.extend(kept)


def _integral(model: onnx.ModelProto) -> set[str]:
    """Names of the nodes that compute what becomes an integer: a place, a bucket, a count.

    Half a bit off there is not a small error: it is another row of a table.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for last in model.graph.node:
        if last.op_type != "Cast" or last.attribute[0].i not in INTEGERS:
            continue
        ahead = list(last.input)
        while ahead:
            node = makers.get(ahead.pop())
            if node is not None and node.op_type in ARITHMETIC:
                ahead += node.input if node.name not in found else []
                found |= {node.name, last.name}
    return found


def _wide(model: onnx.ModelProto, samples: Sequence[Golden]) -> list[str]:
    """Names of the nodes that make or take values beyond fp16's safe range, by the samples."""
    import onnx

    graph = model.graph
    own = len(graph.output)
    known = {output.name for output in graph.output}
    names = [name for node in graph.node for name in node.output if name and name not in known]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        running = artifact.session(model)
    finally:
        del graph.output[own:]
    large: set[str] = set()
    for answer in artifact.answers(running, samples[:8]):
        for name, value in answer.items():
            if value.dtype != np.float32:
                continue
            magnitude = np.abs(value)
            if ((magnitude > LARGEST) & (magnitude < MASK)).any():
                large.add(name)
    return [node.name for node in graph.node if large.intersection((*node.input, *node.output))]
