"""Computes, once, what a graph would compute from constants alone.

Exporters leave a weight's reordering (an LSTM's gates, say) in the graph, and quantisers
want the weight itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.stages import artifact
from builder.stages.quantising import linear

if TYPE_CHECKING:
    import onnx

RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


def fold(model: onnx.ModelProto) -> None:
    """Replaces, in place, every node that depends on constants alone by its value."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    tensors = linear.constants(model)
    known, constant, rest = set(tensors), [], []
    for node in graph.node:
        plain = node.op_type not in RANDOM and not any(
            a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute
        )
        if plain and all(name in known for name in node.input if name):
            constant.append(node)
            known.update(node.output)
        else:
            rest.append(node)
    computed = {name for node in constant for name in node.output if name}
    used = {name for node in rest for name in linear.reads(node)}
    wanted = sorted(computed & (used | {output.name for output in graph.output}))
    if not wanted:
        return
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(constant)
    read = {name for node in constant for name in node.input}
    part.graph.initializer.extend(t for t in graph.initializer if t.name in read)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    values = artifact.session(part).run(wanted, {})
    del graph.node[:]
    graph.node.extend(rest)
    for name, value in zip(wanted, values, strict=True):
        graph.initializer.append(numpy_helper.from_array(value, name))
    kept = [t for t in graph.initializer if t.name in used or t.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(kept)
