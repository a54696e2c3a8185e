"""What TensorRT has against a graph, in its own words, with the nodes that it is about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.triton.opsets import STANDARD, Node, some

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx

DYNAMIC = frozenset(
    {
        *("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeLSTM"),
        *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearConv", "QLinearMatMul"),
    }
)
"""Operators of integer arithmetic. TensorRT has it by Q/DQ pairs alone."""

QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})

NOISE = re.compile(r"catchCudaError|^Invalid Node - ")
"""What the library says beside the point: that no GPU is there, and a node's name once more."""

FULL = re.compile(r"amount of GPU memory \(\d+ bytes\) could not be allocated|(?i:out ?of ?memory)")
"""What it says where the GPU, and not the graph, is at fault."""

AWAY = "if TensorRT itself is known to take it, set `preflight = false` for the target"


def unparsed(library: str, model: Path, errors: Sequence[Any], where: str) -> WorkFailedError:
    """The refusal of a parser, by its `ParserError`s."""
    graph = _graph(model)
    nodes = [_node(error, graph) for error in errors]
    reasons = [f"{_said(e, n, graph)}: {_words(e)}" for e, n in zip(errors, nodes, strict=True)]
    return WorkFailedError(
        f"{library}'s parser refuses the graph",
        where=where,
        found=some(reasons) or "no reason given",
        expected="a graph of operators, types and Q/DQ pairs that TensorRT has",
        fix=_fix(nodes),
        detail="\n".join(reasons) if len(reasons) > 1 else None,
    )


def unbuilt(library: str, model: Path, log: Sequence[str], where: str) -> WorkFailedError:
    """The refusal of a builder: what it logged, and the nodes whose names stand there."""
    words = _plain(log)
    full = next((word for word in words if FULL.search(word)), None)
    if full:
        return WorkFailedError(
            f"the GPU has too little memory for {library} to build the plan",
            where=where,
            found=full,
            expected="memory for the weights, and for what layers use while they are timed",
            fix="build on a GPU that nobody else uses, or a larger one; or let the target's "
            "`tensorrt.workspace` be smaller, or the largest `dims` in model.yaml",
            detail="\n".join(words),
        )
    named = list(_named(words, _graph(model).graph.node))
    found = some([str(node) for node in named])
    return WorkFailedError(
        f"{library}'s builder refuses the graph",
        where=where,
        found=": ".join(filter(None, (found, words[-1] if words else "no reason given"))),
        expected="a graph that can be built for every shape that the spec allows",
        fix="let no size be a number that the spec says varies, and see that `dims` in model.yaml "
        f"are what the model takes; {AWAY}",
        detail="\n".join(words),
    )


def _graph(model: Path) -> onnx.ModelProto:
    import onnx

    return onnx.load(model, load_external_data=False)


def _node(error: Any, graph: onnx.ModelProto) -> Node:
    """The node of an error; one without an operator where it is about none."""
    place, name, operator = error.node(), error.node_name(), error.node_operator()
    domain = ""
    outside = not error.local_function_stack()
    if outside and 0 <= place < len(graph.graph.node):
        found = graph.graph.node[place]
        domain = found.domain if found.op_type == operator else ""
    return Node(name or (f"#{place}" if place >= 0 else ""), operator, domain)


def _said(error: Any, node: Node, graph: onnx.ModelProto) -> str:
    if node.operator:
        inside = " in ".join(reversed(error.local_function_stack()))
        return f"{node} in {inside}" if inside else str(node)
    if error.func() == "importInput":
        name = error.file()  # the parser says the input's name where a file's belongs
        return f"input `{name}` ({_type(graph, name)})"
    return "the graph"


def _type(graph: onnx.ModelProto, name: str) -> str:
    """The element type of an input: `int16`."""
    import onnx

    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.graph.input}
    return str(onnx.TensorProto.DataType.Name(kinds.get(name, 0))).lower()


def _words(error: Any) -> str:
    """What the parser says; of an operator that it has not it says the check that failed."""
    lines = _plain(error.desc().splitlines())
    code = error.code().name
    if not lines or lines == ["false"]:
        return f"{code} ({error.func()})"
    return f"{code}, {'; '.join(lines[:2])}"


def _plain(lines: Iterable[str]) -> list[str]:
    split = [line.strip() for text in lines for line in text.splitlines()]
    return [line for line in split if line and not NOISE.search(line)]


def _named(words: Sequence[str], nodes: Iterable[onnx.NodeProto]) -> Iterable[Node]:
    text = "\n".join(words)
    for node in nodes:
        if node.name and re.search(rf"(?<![\w/.]){re.escape(node.name)}(?![\w/.])", text):
            yield Node(node.name, node.op_type, node.domain)


def _fix(nodes: Sequence[Node]) -> str:
    operators = {node.operator for node in nodes}
    if operators & DYNAMIC:
        return (
            "quantise statically, by symmetric int8 Q/DQ pairs: `precision: int8` for a gpu target "
            "does; or take fp16"
        )
    if operators & QDQ:
        return "let scales be symmetric: int8, and zero points 0; biases stay fp32; or take fp16"
    if any(node.domain not in STANDARD for node in nodes):
        return f"write this in operators of ONNX itself in the model's source; {AWAY}"
    return f"write this in other operators in the model's source; {AWAY}"
