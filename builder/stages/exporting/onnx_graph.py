"""An exported graph made regular: the spec's names, no traces of the machine, stable bytes.

What the exporter leaves in a model varies with the folder it ran in (stack traces in the
metadata) and with its own taste (names of inputs, outputs and dimensions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import onnx_ir as ir

    from builder.spec.tensor import Tensor
    from builder.stages.usercode.signature import Signature

FILE = "model.onnx"
DATA = "model.onnx.data"
EXTERNAL_ABOVE = 1_900_000_000
"""Bytes of weights beyond which they lie in a file of their own: protobuf ends at 2 GiB."""

DTYPES = {"string": "STRING", "float16": "FLOAT16", "float32": "FLOAT", "float64": "DOUBLE"}
"""ONNX names of dtypes where they are not the spec's in capitals."""


def specialised(graph: ir.Graph, signature: Signature) -> dict[str, int]:
    """Named dimensions that the exporter fixed in the inputs, and the sizes it fixed them to."""
    found: dict[str, int] = {}
    for value, tensor in zip(graph.inputs, signature.inputs.values(), strict=True):
        shape = value.shape
        if shape is None or len(shape) != len(tensor.shape):
            continue
        found |= {
            declared: size
            for size, declared in zip(shape, tensor.shape, strict=True)
            if isinstance(size, int) and isinstance(declared, str)
        }
    return found


def normalise(model: ir.Model, signature: Signature, ir_version: int) -> None:
    """Rewrites the model in place; `signature` gives names, order, dtypes and dimensions."""
    _forget_traces(model)
    graph = model.graph
    _own_values_for_outputs(graph)
    _free(graph, {*signature.inputs, *signature.outputs})
    for values, tensors in ((graph.inputs, signature.inputs), (graph.outputs, signature.outputs)):
        for value, (name, tensor) in zip(values, tensors.items(), strict=True):
            value.name = name
            _declare(value, tensor)
    graph.name = "model"
    model.ir_version = ir_version
    model.producer_name, model.producer_version = "triton-builder", ""
    model.domain, model.model_version = "", 0


def weigh(model: ir.Model) -> int:
    """Bytes of all weights."""
    values = model.graph.initializers.values()
    return sum(v.const_value.nbytes for v in values if v.const_value is not None)


def save(model: ir.Model, folder: Path, external_above: int = EXTERNAL_ABOVE) -> Path:
    """Writes `model.onnx`, and `model.onnx.data` if the weights are too big for one file."""
    import onnx_ir as ir

    path = folder / FILE
    (folder / DATA).unlink(missing_ok=True)
    if weigh(model) > external_above:
        ir.save(model, path, external_data=DATA, size_threshold_bytes=1024, max_workers=1)
    else:
        proto = ir.serde.serialize_model(model)
        path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


def _forget_traces(model: ir.Model) -> None:
    import onnx_ir as ir

    model.doc_string = None
    model.metadata_props.clear()
    for function in model.functions.values():
        function.doc_string = None
        function.metadata_props.clear()
    for graph in [model.graph, *(f.graph for f in model.functions.values())]:
        graph.doc_string = None
        graph.metadata_props.clear()
        for node in ir.traversal.RecursiveGraphIterator(graph):
            node.doc_string = None
            node.metadata_props.clear()
            for attribute in node.attributes.values():
                attribute.doc_string = None
        for value in _values(graph):
            value.doc_string = None
            value.metadata_props.clear()
            constant = value.const_value
            if constant is not None and constant.doc_string:
                value.const_value = ir.tensor(constant.numpy(), name=value.name)
            elif constant is None and value.producer() is not None and not value.is_graph_output():
                value.shape, value.type = None, None  # what would become `value_info`


def _own_values_for_outputs(graph: ir.Graph) -> None:
    """An output that is an input, a weight or another output becomes a copy of it."""
    import onnx_ir as ir

    seen: set[int] = set()
    for number, value in enumerate(list(graph.outputs)):
        if value.producer() is None or value.graph is not graph or id(value) in seen:
            node = ir.node("Identity", [value], name=f"output_{number}_copy")
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[number] = node.outputs[0]
        seen.add(id(value))


def _free(graph: ir.Graph, reserved: set[str]) -> None:
    """Takes the reserved names from whatever bears them, and names what has no name."""
    taken = {value.name for value in _values(graph) if value.name} | reserved
    for value in list(_values(graph)):
        if value.name in reserved or value.name is None:
            value.name = _fresh(value.name or "value", taken)


def _fresh(name: str, taken: set[str]) -> str:
    number = 1
    while f"{name}.{number}" in taken:
        number += 1
    taken.add(f"{name}.{number}")
    return f"{name}.{number}"


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every value of a graph and of the graphs inside its nodes; "" names are absent values."""
    import onnx_ir as ir

    graphs = [graph]
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in ir.traversal.RecursiveGraphIterator(graph):
        inner = node.graph
        if inner is not None and not any(inner is known for known in graphs):
            graphs.append(inner)
            yield from inner.inputs
            yield from inner.initializers.values()
        yield from (value for value in node.outputs if value.name != "")


def _declare(value: ir.Value, tensor: Tensor) -> None:
    import onnx_ir as ir

    dtype = ir.DataType[DTYPES.get(tensor.dtype, tensor.dtype.upper())]
    if value.type is None or value.is_graph_input():
        value.type = ir.TensorType(dtype)
    value.shape = ir.Shape(tensor.shape)


def add_missing_inputs(graph: ir.Graph, named: Mapping[str, Tensor], names: list[str]) -> None:
    """Restores inputs that the exporter dropped because nothing reads them, in order.

    Args:
        graph: has inputs named by `names`, or a part of them.
        named: the spec's inputs.
        names: what the exporter was told to call them, in the same order.
    """
    import onnx_ir as ir

    present = {value.name: value for value in graph.inputs}
    ordered = []
    for name, tensor in zip(names, named.values(), strict=True):
        value = present.get(name) or ir.Value(name=name)
        if name not in present:
            _declare(value, tensor)
        ordered.append(value)
    graph.inputs.clear()
    graph.inputs.extend(ordered)
