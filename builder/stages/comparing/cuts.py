"""Graphs whose inner values can be asked for, and graphs cut at the values that two have in common.

A rewriting keeps the names of the values that it does not do away with: by name they are matched.
Nothing runs here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.stages.quantising import linear

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import onnx

OWN = "::own"
"""Follows the name of a value that a cut graph computes, beside the one that it is given."""

INLINE = 1024
"""Bytes up to which a constant stays in the graph's own file."""


@dataclass(frozen=True)
class Piece:
    """What lies between a matched value and the matched values before it, in the rewritten graph.

    Attributes:
        value: its name.
        node: the name of the node that makes it.
        operators: of the piece, in the graph's order, the last one's last.
        sources: the matched values, and inputs of the graph, that it starts from.
        places: of the piece's nodes.
    """

    value: str
    node: str
    operators: tuple[str, ...]
    sources: tuple[str, ...]
    places: tuple[int, ...]


def light(model: onnx.ModelProto, file: Path) -> onnx.ModelProto:
    """The model without its large constants, which lie in a file beside its copies from now on."""
    import onnx

    onnx.save(
        model,
        file,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{file.name}.data",
        size_threshold=INLINE,
    )
    return onnx.load(file, load_external_data=False)


def marked(model: onnx.ModelProto, names: Collection[str], file: Path) -> Path:
    """Writes the graph that gives these values and no others, without what only others need."""
    import onnx

    made = _like(model)
    made.graph.node.extend(linear.alive(model.graph.node, set(names)))
    made.graph.input.extend(model.graph.input)
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return _written(model, made, file)


def common(reference: onnx.ModelProto, made: onnx.ModelProto) -> dict[str, bool]:
    """The values that both graphs compute, in the order of `made`.

    True stands for one that has become another there, and is as it was once it is rectified: a
    quantiser drops a Relu before a QuantizeLinear that ends at 0, and gives what was before it its
    name. A Clip likewise, but that is left out.
    """
    known = {name: node.op_type for node in reference.graph.node for name in node.output if name}
    found = {}
    for node in made.graph.node:
        for name in node.output:
            before = known.get(name)
            dropped = before in {"Relu", "Clip"} and node.op_type != before
            if before and node.op_type != "Constant" and not (dropped and before == "Clip"):
                found[name] = dropped
    return found


def pieces(made: onnx.ModelProto, matched: Collection[str]) -> list[Piece]:
    """The pieces of `made` between matched values, in its order."""
    makers = {name: at for at, node in enumerate(made.graph.node) for name in node.output if name}
    inputs = {value.name for value in made.graph.input}
    found = []
    for node in made.graph.node:
        for name in node.output:
            if name in matched:
                places, sources = _back(made, name, matched, makers, inputs)
                operators = tuple(made.graph.node[at].op_type for at in places)
                found.append(Piece(name, node.name, operators, tuple(sorted(sources)), places))
    return found


def _back(
    model: onnx.ModelProto,
    value: str,
    matched: Collection[str],
    makers: Mapping[str, int],
    inputs: Collection[str],
) -> tuple[tuple[int, ...], set[str]]:
    """The nodes between a value and the matched ones before it, and which these are."""
    places, sources, ahead = set[int](), set[str](), [makers[value]]
    while ahead:
        at = ahead.pop()
        if at in places:
            continue
        places.add(at)
        for name in linear.reads(model.graph.node[at]):
            if name in matched or name in inputs:
                sources.add(name)
            elif name in makers:
                ahead.append(makers[name])
    return tuple(sorted(places)), sources


def cut(
    model: onnx.ModelProto, chosen: Sequence[Piece], types: Mapping[str, int], file: Path
) -> Path:
    """Writes a graph of these pieces alone, each of which starts from values that it is given.

    Args:
        model: the rewritten graph.
        chosen: some of its pieces.
        types: element type of every matched value.
        file: where to.
    """
    import onnx

    made = _like(model)
    given = sorted({name for piece in chosen for name in piece.sources})
    own = {value.name: value for value in model.graph.input}
    made.graph.input.extend(
        own.get(name) or onnx.helper.make_tensor_value_info(name, types[name], None)
        for name in given
    )
    for at in sorted({at for piece in chosen for at in piece.places}):
        node = onnx.NodeProto()
        node.CopyFrom(model.graph.node[at])
        for place, name in enumerate(node.output):
            if name in types:
                node.output[place] = f"{name}{OWN}"
        made.graph.node.append(node)
    made.graph.output.extend(onnx.ValueInfoProto(name=f"{p.value}{OWN}") for p in chosen)
    return _written(model, made, file)


def _like(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    made = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    made.functions.extend(model.functions)
    made.graph.name = model.graph.name
    return made


def _written(model: onnx.ModelProto, made: onnx.ModelProto, file: Path) -> Path:
    used = {name for node in made.graph.node for name in linear.reads(node)}
    used |= {value.name for value in made.graph.output}
    made.graph.initializer.extend(t for t in model.graph.initializer if t.name in used)
    made.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    file.write_bytes(made.SerializeToString(deterministic=True))
    return file
