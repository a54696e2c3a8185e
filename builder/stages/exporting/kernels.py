"""Operators that ONNX Runtime has no kernel for at some dtype, run at a wider common one.

Its CPU provider lacks, among others, double Softplus and, in the versions that releases ship,
arithmetic of 8 and 16 bits. The graph around such an operator stays as it is; only its own
inputs and outputs are cast.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
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

_SMALL = ("UINT8", "INT8", "UINT16", "INT16", "UINT32", "UINT64")
_PLAIN = ("Add", "Sub", "Mul", "Div", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")

RECENT: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(_PLAIN, dict.fromkeys(_SMALL, "INT64")),
    **dict.fromkeys(("Max", "Min"), dict.fromkeys(("UINT8", "INT8"), "INT64")),
    **dict.fromkeys(("ArgMax", "ArgMin"), dict.fromkeys((*_SMALL, "INT64"), "DOUBLE")),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), dict.fromkeys(("UINT8", "INT8"), "FLOAT")),
    **{op: {"DOUBLE": "FLOAT"} for op in ("Cos", "ReduceL2", "ReduceProd")},
    "Neg": {"INT16": "INT64"},
    "TopK": dict.fromkeys(("UINT8", "INT8", "INT16"), "INT64"),
    "Trilu": {"INT32": "INT64", "BOOL": "INT64"},
}
"""Operators and dtypes whose kernel a build's ONNX Runtime may have and a release's has not, and
the dtype to run at instead. Measured with one-node models in 1.17.3, 1.19.2 and 1.32.0."""


def lacking(message: str) -> str | None:
    """The operator that a refusal of ONNX Runtime is about, if it is about a kernel."""
    return next((m.group(1) for pattern in MISSING if (m := pattern.search(message))), None)


def widen(path: Path, operator: str, done: Collection[str]) -> set[str]:
    """Rewrites a file: every such operator of the main graph gets casts around it.

    Where the graph has none, ONNX Runtime met it inside an operator that ONNX defines as a
    function (Gelu, Clip): then those get the casts. Returns which did, none of them `done`.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    opset = next(o.version for o in model.opset_import if o.domain in {"", "ai.onnx"})
    nodes = model.graph.node
    chosen = ({node.op_type for node in nodes} & {operator}) - {*done}
    chosen = chosen or {n.op_type for n in nodes if _is_function(n, opset)} - {*done}
    return _rewritten(path, model, dict.fromkeys(chosen, WIDER))


def widen_recent(path: Path) -> set[str]:
    """Rewrites a file where it needs a kernel of `RECENT`; returns the operators that got casts.

    A release's ONNX Runtime would refuse it, which the build's own cannot tell.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    return _rewritten(path, model, RECENT)


def keep_transposes(path: Path) -> bool:
    """Rewrites a file where a double product reads a Transpose; says whether it did.

    ONNX Runtime fuses the two into FusedMatMul, whose CPU kernel 1.19 has for floats only. Said
    as an Einsum, the transposition is not recognised.
    """
    import onnx.helper

    model = onnx.load(path, load_external_data=False)
    products = {name for n in model.graph.node if n.op_type == "MatMul" for name in n.input}
    turned = [
        (node, list(node.attribute[0].ints))
        for node in model.graph.node
        if node.op_type == "Transpose" and node.attribute and products.intersection(node.output)
    ]
    types = _types(model) if turned else {}
    found = [(node, perm) for node, perm in turned if types.get(node.input[0]) == "DOUBLE"]
    for node, perm in found:
        letters = string.ascii_lowercase[: len(perm)]
        equation = f"{letters}->{''.join(letters[axis] for axis in perm)}"
        node.op_type = "Einsum"
        del node.attribute[:]
        node.attribute.append(onnx.helper.make_attribute("equation", equation))
    if found:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return bool(found)


def _rewritten(
    path: Path, model: onnx.ModelProto, targets: Mapping[str, Mapping[str, str]]
) -> set[str]:
    """Saves the model with casts around the operators of `targets`, by dtype; says which."""
    if not any(node.op_type in targets for node in model.graph.node):
        return set()
    types, nodes, wrapped = _types(model), list(model.graph.node), set()
    del model.graph.node[:]
    for number, node in enumerate(nodes):
        around = _wrapped(node, types, targets.get(node.op_type, {}), f"wide.{number}")
        if len(around) > 1:
            wrapped.add(node.op_type)
        model.graph.node.extend(around)
    if wrapped:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return wrapped


def _is_function(node: onnx.NodeProto, opset: int) -> bool:
    import onnx.defs

    if node.domain not in {"", "ai.onnx"}:
        return False
    schema = onnx.defs.get_schema(node.op_type, opset)
    return bool(schema.has_function or schema.has_context_dependent_function)


def _wrapped(
    node: onnx.NodeProto, types: Mapping[str, str], target: Mapping[str, str], label: str
) -> list[onnx.NodeProto]:
    """The node, and around it the casts of what has a dtype of `target`."""
    before: dict[str, onnx.NodeProto] = {}  # by name: an operator may read one value twice
    after = []
    for index, name in enumerate(node.input):
        wide = target.get(types.get(name, ""))
        if wide:
            node.input[index] = f"{label}.{name}"
            before[name] = _cast(name, node.input[index], wide)
    for index, name in enumerate(node.output):
        own = types.get(name, "")
        if before and own in target:
            node.output[index] = f"{label}.{name}"
            after.append(_cast(node.output[index], name, own))
    return [*before.values(), node, *after]


def _cast(source: str, target: str, to: str) -> onnx.NodeProto:
    import onnx.helper

    element = onnx.TensorProto.DataType.Value(to)
    return onnx.helper.make_node("Cast", [source], [target], name=f"cast.{target}", to=element)


def _types(model: onnx.ModelProto) -> dict[str, str]:
    """Names of dtypes by value, inferred from a copy without the weights."""
    import onnx.helper

    light = onnx.ModelProto()
    light.CopyFrom(onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import))
    light.functions.extend(model.functions)
    light.graph.node.extend(model.graph.node)
    light.graph.output.extend(model.graph.output)
    light.graph.input.extend(model.graph.input)
    light.graph.input.extend(
        onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
        for weight in model.graph.initializer
    )
    graph = onnx.shape_inference.infer_shapes(light).graph
    return {
        value.name: onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)
        for value in [*graph.value_info, *graph.input, *graph.output]
    }
