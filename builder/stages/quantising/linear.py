"""The linear layers and embeddings of a graph: constant matrices that inputs meet.

`MatMul`, `Gemm` and `Gather` come in many spellings (transposed weights, weights in
Constant nodes, one weight under several layers); here each is found and described once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    Array = np.ndarray[Any, Any]

SHARE = 0.002
"""A matrix below this share of all matrices' elements stays fp32: it costs next to no
bytes, and such small ones (classifier heads, gates) are often the sensitive ones."""


@dataclass(frozen=True)
class Linear:
    """`output = (input @ weight) * factor + bias * beta` at one node.

    Attributes:
        at: place of the node in the graph.
        input: name of the activation; its last axis meets the weight.
        weight: name of the constant matrix.
        transposed: whether the constant is [columns, channels] rather than [channels, columns].
        output: name of the result.
        factor: Gemm's alpha.
        bias: name of Gemm's C, if any.
        beta: Gemm's beta.
    """

    at: int
    input: str
    weight: str
    transposed: bool
    output: str
    factor: float = 1.0
    bias: str | None = None
    beta: float = 1.0

    @property
    def key(self) -> tuple[str, bool, float]:
        """Layers of one key multiply by one matrix."""
        return (self.weight, self.transposed, self.factor)


@dataclass(frozen=True)
class Embedding:
    """`output = table[index]` at one node, row by row."""

    at: int
    table: str
    index: str
    output: str


@dataclass(frozen=True)
class Layers:
    """What of a graph can be quantised by rows."""

    linears: tuple[Linear, ...]
    embeddings: tuple[Embedding, ...]

    def __bool__(self) -> bool:
        return bool(self.linears or self.embeddings)


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Every constant tensor by name: initializers, and the values of Constant nodes.

    An initializer that is also a graph input may be overridden by a caller: not a constant.
    """
    inputs = {value.name for value in model.graph.input}
    found = {t.name: t for t in model.graph.initializer if t.name not in inputs}
    for node in model.graph.node:
        if node.op_type == "Constant":
            name = node.output[0]
            found.update((name, a.t) for a in node.attribute if a.name == "value")
    return found


def matrix(one: Linear, tensors: Mapping[str, onnx.TensorProto]) -> Array:
    """The weight of a layer as [channels, columns], Gemm's alpha applied."""
    from onnx import numpy_helper

    weight: Array = numpy_helper.to_array(tensors[one.weight])
    weight = weight.T if one.transposed else weight
    return weight if one.factor == 1.0 else weight * np.float32(one.factor)


def find(model: onnx.ModelProto, tensors: Mapping[str, onnx.TensorProto]) -> Layers:
    """The layers worth quantising, in the graph's order."""
    matrices = {
        name: int(np.prod(t.dims))
        for name, t in tensors.items()
        if t.data_type == 1 and len(t.dims) == 2 and min(t.dims) > 1  # noqa: PLR2004 - float32
    }
    turned = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Transpose"
        and node.input[0] in matrices
        and _attributes(node).get("perm", [1, 0]) == [1, 0]
    }
    linears: list[Linear] = []
    embeddings: list[Embedding] = []
    for at, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type in ("MatMul", "Gemm") and (one := _linear(at, node, matrices, turned)):
            linears.append(one)
        elif (
            node.op_type == "Gather"
            and node.input[0] in matrices
            and not _attributes(node).get("axis", 0)
        ):
            embeddings.append(Embedding(at, node.input[0], node.input[1], node.output[0]))
    used = {one.weight for one in linears} | {one.table for one in embeddings}
    least = SHARE * sum(matrices[name] for name in used)
    return Layers(
        tuple(one for one in linears if matrices[one.weight] >= least),
        tuple(one for one in embeddings if matrices[one.table] >= least),
    )


def groups(linears: Sequence[Linear]) -> dict[str, int]:
    """Group number by input name: inputs that share a matrix share its smoothing."""
    group: dict[str, int] = {}
    by_key: dict[tuple[str, bool, float], int] = {}
    for number, one in enumerate(linears):
        ours = {group.get(one.input, number), by_key.get(one.key, number)}
        target = min(ours)
        group = {name: target if g in ours else g for name, g in group.items()}
        by_key = {key: target if g in ours else g for key, g in by_key.items()}
        group[one.input] = by_key[one.key] = target
    return group


def reads(node: onnx.NodeProto) -> set[str]:
    """Every name that a node reads, those of its subgraphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(output.name for output in graph.output)
            for inner in graph.node:
                names |= reads(inner)
    return names


def alive(nodes: Sequence[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """The nodes that an output needs; a weight's Transpose may have lost its reader."""
    kept, needed = [], set(outputs)
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed |= reads(node)
            kept.append(node)
    return kept[::-1]


def _linear(
    at: int, node: onnx.NodeProto, matrices: Mapping[str, int], turned: Mapping[str, str]
) -> Linear | None:
    data, weight = node.input[0], node.input[1]
    source = turned.get(weight, weight)
    if source not in matrices or data in matrices:
        return None
    if node.op_type == "MatMul":
        return Linear(at, data, source, weight in turned, node.output[0])
    attributes = _attributes(node)
    if attributes.get("transA", 0):
        return None
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None  # noqa: PLR2004
    return Linear(
        at,
        data,
        source,
        bool(attributes.get("transB", 0)) != (weight in turned),
        node.output[0],
        attributes.get("alpha", 1.0),
        bias,
        attributes.get("beta", 1.0),
    )


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
