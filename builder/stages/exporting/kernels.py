"""Operators that ONNX Runtime has no kernel for at some dtype, run at a wider common one.

Its CPU provider lacks, among others, double Softplus and most arithmetic of 8 and 16 bits.
The graph around such an operator stays as it is; only its own inputs and outputs are cast.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import onnx

MISSING = (
    re.compile(r"Could not find an implementation for (\w+)\("),
    re.compile(r"of operator \((\w+)\) in node .* is invalid"),
)
"""How ONNX Runtime says that it has no kernel, and that ONNX has no such operator."""

WIDER = {
    "DOUBLE": "FLOAT",  # not wider, but what every kernel has; the proof tells if it matters
    "UINT8": "INT64",
    "INT8": "INT64",
    "UINT16": "INT64",
    "INT16": "INT64",
    "UINT32": "INT64",
    "UINT64": "INT64",
    "INT32": "INT64",
    "BOOL": "INT64",
}


def lacking(message: str) -> str | None:
    """The operator that a refusal of ONNX Runtime is about, if it is about a kernel."""
    return next((m.group(1) for pattern in MISSING if (m := pattern.search(message))), None)


def widen(path: Path, operator: str, done: Collection[str]) -> set[str]:
    """Rewrites a file: every such operator of the main graph gets casts around it.

    Where the graph has none, ONNX Runtime met it inside an operator that ONNX defines as a
    function (Gelu, Clip): then those get the casts. Returns which did, none of them `done`.
    """
    import onnx

    model = onnx.load(path)
    types = _types(model.graph) | _types(onnx.shape_inference.infer_shapes(model).graph)
    opset = next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"})
    nodes = list(model.graph.node)
    chosen = ({node.op_type for node in nodes} & {operator}) - {*done}
    chosen = chosen or {n.op_type for n in nodes if _is_function(n, opset)} - {*done}
    del model.graph.node[:]
    for node in nodes:
        if node.op_type in chosen:
            model.graph.node.extend(_wrapped(node, types))
        else:
            model.graph.node.append(node)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return chosen


def _is_function(node: onnx.NodeProto, opset: int) -> bool:
    import onnx.defs

    if node.domain not in {"", "ai.onnx"}:
        return False
    schema = onnx.defs.get_schema(node.op_type, opset)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _wrapped(node: onnx.NodeProto, types: dict[str, int]) -> list[onnx.NodeProto]:
    before, after = [], []
    for index, name in enumerate(node.input):
        wide = _wide(types.get(name, 0))
        if name and wide is not None:
            node.input[index] = f"{node.name}.wide.{name}"
            before.append(_cast(name, node.input[index], wide))
    for index, name in enumerate(node.output):
        own = types.get(name, 0)
        if before and name and _wide(own) is not None:
            node.output[index] = f"{node.name}.wide.{name}"
            after.append(_cast(node.output[index], name, own))
    return [*before, node, *after]


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    import onnx.helper

    return onnx.helper.make_node("Cast", [source], [target], name=f"cast.{target}", to=to)


def _wide(element: int) -> int | None:
    import onnx

    wider = WIDER.get(onnx.TensorProto.DataType.Name(element))
    return None if wider is None else int(onnx.TensorProto.DataType.Value(wider))


def _types(graph: Any) -> dict[str, int]:
    values = [*graph.input, *graph.output, *graph.value_info]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}
