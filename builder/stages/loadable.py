"""Whether a release's ONNX Runtime would load a graph, by what the release table says of it.

A refusal by these numbers names nodes. That a graph is not refused proves nothing: `prove` does.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from builder.triton.opsets import STANDARD, Node, Onnx, obstacles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir


def reasons(model: ir.Model, loads: Mapping[str, int]) -> list[str]:
    """Why it would be refused, with the nodes; none if the table has nothing against it.

    Args:
        model: the graph with its functions.
        loads: `opset` and `ir_version`, the highest that are loaded.
    """
    opset = next((version for name, version in model.opset_imports.items() if name in STANDARD), 1)
    defined = {(function.domain, function.name) for function in model.functions.values()}
    found, highest = Onnx(opset, model.ir_version or 0), Onnx(**loads)
    return obstacles(found, highest, _nodes(model, opset, highest.opset), defined)


def _nodes(model: ir.Model, opset: int, highest: int) -> Iterator[Node]:
    import onnx_ir as ir

    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in ir.traversal.RecursiveGraphIterator(graph):
            standard = node.domain in STANDARD
            since = _since(node.op_type, opset) if standard else None
            new = standard and _since(node.op_type, highest) is None
            yield Node(node.name or "", node.op_type, node.domain, since, new)


@cache
def _since(operator: str, opset: int) -> int | None:
    """The opset from which an operator has the form that it has at `opset`."""
    import onnx.defs

    try:
        return int(onnx.defs.get_schema(operator, opset, "").since_version)
    except onnx.defs.SchemaError:
        return None
