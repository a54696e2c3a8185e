"""Static int8 for GPUs: symmetric Q/DQ pairs before convolutions and linear layers.

TensorRT turns a product between DequantizeLinear nodes into an int8 kernel. It wants one scale a
tensor for an activation, one a channel for a weight, signed numbers and no zero points; biases are
floating. Scales are fixed here, from the samples: they do
not depend on a batch's other rows. Activations are evened out first, as for CPUs (`smoothing`).
In a graph of linear layers the rest becomes fp16 (`half`): attention is no small part of it. In one
of convolutions there is hardly a rest, and types that change between them would be in the way of
fusing them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.stages.quantising import half, linear
from builder.stages.quantising.smoothing import smooth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from builder.stages.quantising.calibration import Range
    from builder.stages.quantising.linear import Layers, Linear
    from builder.stages.quantising.recipes import Effort
    from builder.stages.quantising.smoothing import Smoothing

    Array = np.ndarray[Any, Any]

PREFIX = "int8"
LEVELS = 127
STEP = 64
"""Scales are rounded up to a 64th of their power of 2: coarse, so that the last bits of a
calibration run, which differ between CPUs, do not reach the artifact's bytes."""

PAIR = ("QuantizeLinear", "DequantizeLinear")
"""Fp32 outside, as the products between them. On the CPU ONNX Runtime 1.19 rounds fp16 badly where
it is quantised: MiniLM's least cosine was 0.948 for 0.990."""


@dataclass(frozen=True)
class Recipe:
    """One way to static int8.

    Attributes:
        alpha: how much of an activation's unevenness moves into the weights; 0: none.
        floating: share of the linear layers' elements that stay as they are, worst first.
        edges: whether the first and the last convolution stay as they are.
        sums: whether operators that add many values up stay fp32.
    """

    alpha: float = 0.5
    floating: float = 0.0
    edges: bool = False
    sums: bool = False

    def __str__(self) -> str:
        parts = [f"static-pairs alpha={self.alpha:g}"]
        parts += [f"floating={self.floating:g}"] if self.floating else []
        parts += ["edges=fp32"] if self.edges else []
        parts += ["sums=fp32"] if self.sums else []
        return " ".join(parts)


LINEAR: Mapping[Effort, tuple[Recipe, ...]] = {
    "default": (
        Recipe(),
        Recipe(alpha=0.7),
        Recipe(alpha=0.7, floating=0.2),
        Recipe(alpha=0.6, floating=0.35),
        Recipe(alpha=0.6, floating=0.5, sums=True),
    ),
    "accurate": (
        Recipe(alpha=0.6, floating=0.5),
        Recipe(alpha=0.6, floating=0.65, sums=True),
        Recipe(alpha=0.6, floating=0.8, sums=True),
    ),
}
CONVOLUTIONAL: Mapping[Effort, tuple[Recipe, ...]] = {
    "default": (Recipe(), Recipe(edges=True)),
    "accurate": (Recipe(edges=True), Recipe(floating=1.0, edges=True)),
}
"""In the order in which they are tried. For MiniLM alpha matters much (least cosine 0.79 at 0.5,
0.94 at 0.6, 0.98 at 0.7 and 0.8), and leaving out the third that rounding hurts most even more
(0.996 at 0.6)."""


@dataclass(frozen=True)
class Convolution:
    """A convolution with a constant weight, [outputs, inputs, ...]."""

    at: int
    input: str
    weight: str


@dataclass(frozen=True)
class Subject:
    """A graph and what calibration saw of it.

    Attributes:
        convolutions: none where linear layers are most of the graph.
        magnitudes: greatest absolute value of each convolution's input.
        ranges: of each linear layer's input, channel by channel.
        wide: names of the nodes that stay fp32.
    """

    model: onnx.ModelProto
    layers: Layers
    convolutions: Sequence[Convolution]
    magnitudes: Mapping[str, float]
    ranges: Mapping[str, Range]
    wide: Sequence[str] = ()

    def recipes(self, effort: Effort) -> Sequence[Recipe]:
        """Those to try, in order; none where there is nothing to quantise."""
        if self.convolutions:
            return CONVOLUTIONAL[effort]
        return LINEAR[effort] if self.layers.linears else ()

    def made_by(self, recipe: Recipe) -> onnx.ModelProto:
        """The model, quantised by a recipe."""
        names = [node.name for node in self.model.graph.node]
        narrow = [at for at, name in enumerate(names) if name not in self.wide]
        linears = [o for o in self.layers.linears if o.input in self.ranges and o.at in narrow]
        floating = _worst(self.model, linears, self.ranges, recipe)
        chosen = [o for o in self.convolutions if o.input in self.magnitudes and o.at in narrow]
        if recipe.edges:
            chosen = chosen[1:-1]
        rewrite = _Rewrite(self.model, linear.constants(self.model))
        made = rewrite.run(
            [one for one in linears if one.output not in floating],
            chosen,
            self.ranges,
            self.magnitudes,
            recipe,
        )
        if self.convolutions:
            return made
        operators = (*half.GUARDS, *PAIR, *(half.SUMS if recipe.sums else ()))
        return half.convert(made, operators, [*self.wide, *rewrite.products])


def convolutions(model: onnx.ModelProto, layers: Layers) -> list[Convolution]:
    """The convolutions of a graph that can be quantised, in its order.

    None where linear layers hold more numbers, as in a transformer that looks at images.
    """
    tensors = linear.constants(model)
    found = [
        Convolution(at, node.input[0], node.input[1])
        for at, node in enumerate(model.graph.node)
        if node.op_type == "Conv"
        and node.input[1] in tensors
        and tensors[node.input[1]].data_type == 1  # float32
        and node.input[0] not in tensors
    ]
    convolved = sum(math.prod(tensors[one.weight].dims) for one in found)
    multiplied = sum(math.prod(tensors[n].dims) for n in {one.weight for one in layers.linears})
    return found if convolved >= multiplied else []


def scale(most: Array | float) -> Array:
    """What a step of int8 stands for, where `most` is the greatest magnitude."""
    step = np.maximum(np.asarray(most, np.float64) / LEVELS, 1e-8)
    power = np.exp2(np.floor(np.log2(step)))
    found: Array = (np.ceil(step / power * STEP) / STEP * power).astype(np.float32)
    return found


def _worst(
    model: onnx.ModelProto,
    linears: Sequence[Linear],
    seen: Mapping[str, Range],
    recipe: Recipe,
) -> frozenset[str]:
    """Outputs of the layers that rounding hurts most, on the rows that calibration kept."""
    if not recipe.floating:
        return frozenset()
    tensors = linear.constants(model)
    errors = []
    for one in linears:
        rows, matrix = seen[one.input].rows, linear.matrix(one, tensors)
        even = smooth(seen[one.input].magnitude, [matrix], alpha=recipe.alpha, outliers=0)
        step = scale((seen[one.input].magnitude * even.inverse).max())
        weight = matrix * even.factors[:, None]
        columns = scale(np.abs(weight).max(axis=0))
        near = np.rint(rows * even.inverse / step).clip(-LEVELS, LEVELS) * step
        exact, rough = rows @ matrix, near @ (np.rint(weight / columns) * columns)
        error = float(np.linalg.norm(rough - exact) / (np.linalg.norm(exact) + 1e-12))
        errors.append((round(error, 3), one, matrix.size))
    budget = recipe.floating * sum(size for _, _, size in errors)
    chosen: set[str] = set()
    for _, one, size in sorted(errors, key=lambda entry: (-entry[0], entry[1].at)):
        if size <= budget:
            chosen.add(one.output)
            budget -= size
    return frozenset(chosen)


@dataclass
class _Rewrite:
    """Nodes and constants of the new graph, as they come to be."""

    model: onnx.ModelProto
    tensors: Mapping[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    made: dict[str, onnx.TensorProto] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    products: list[str] = field(default_factory=list)

    def run(
        self,
        linears: Sequence[Linear],
        chosen: Sequence[Convolution],
        seen: Mapping[str, Range],
        most: Mapping[str, float],
        recipe: Recipe,
    ) -> onnx.ModelProto:
        """A copy of the model with pairs before these layers."""
        import onnx

        even = _evened(linears, seen, self.tensors, recipe.alpha)
        by_place: dict[int, Linear | Convolution] = {one.at: one for one in linears}
        by_place.update((one.at, one) for one in chosen)
        for place, node in enumerate(self.model.graph.node):
            one = by_place.get(place)
            if one is None:
                self.nodes.append(node)
            elif isinstance(one, Convolution):
                self._convolution(one, node, most[one.input])
            else:
                number, smoothing = even[one.input]
                reach = (seen[one.input].magnitude * smoothing.inverse).max()
                self._linear(one, node.name, number, smoothing, reach)
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        graph = result.graph
        nodes = linear.alive(self.nodes, {output.name for output in graph.output})
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in linear.reads(node)}
        used |= {v.name for v in (*graph.output, *graph.input)}
        kept = [t for t in (*self.model.graph.initializer, *self.made.values()) if t.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return result

    def _convolution(self, one: Convolution, node: onnx.NodeProto, reach: float) -> None:
        import onnx
        from onnx import numpy_helper

        weight = numpy_helper.to_array(self.tensors[one.weight])
        steps = scale(np.abs(weight).reshape(len(weight), -1).max(axis=1))
        shape = (-1, *(1,) * (weight.ndim - 1))
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = self._pair(one.input, f"{one.input}.conv", reach)
        copy.input[1] = self._weight(one.weight, weight / steps.reshape(shape), steps, 0)
        self.nodes.append(copy)

    def _linear(
        self, one: Linear, name: str, number: int, smoothing: Smoothing, reach: float
    ) -> None:
        matrix = linear.matrix(one, self.tensors) * smoothing.factors[:, None]
        steps = scale(np.abs(matrix).max(axis=0))
        source = one.input
        if not (smoothing.factors == 1).all():
            factors = self._constant(f"{number}.inverse", smoothing.inverse)
            source = self._node("Mul", [source, factors], f"{PREFIX}.{one.input}.even")
        data = self._pair(source, f"{one.input}.linear", float(reach))
        spelling = f"{one.weight}{'.t' if one.transposed else ''}.{one.factor:g}.{number}"
        weight = self._weight(spelling, matrix / steps, steps, 1)
        bias = one.bias
        output = one.output if bias is None else f"{PREFIX}.{one.output}.product"
        self._node("MatMul", [data, weight], output, name=name)
        self.products.append(name)
        if bias is None:
            return
        self.products.append(one.output)
        if one.beta != 1.0:
            beta = self._constant(f"{one.output}.beta", np.float32(one.beta))
            bias = self._node("Mul", [bias, beta], f"{PREFIX}.{one.output}.bias")
            self.products.append(bias)
        self._node("Add", [output, bias], one.output)

    def _pair(self, source: str, label: str, reach: float) -> str:
        step = self._constant(f"{label}.scale", scale(reach))
        zero = self._constant("zero", np.int8(0))
        down = self._node("QuantizeLinear", [source, step, zero], f"{PREFIX}.{label}.q")
        return self._node("DequantizeLinear", [down, step, zero], f"{PREFIX}.{label}.dq")

    def _weight(self, label: str, levels: Array, steps: Array, axis: int) -> str:
        whole = np.rint(levels).clip(-LEVELS, LEVELS).astype(np.int8)
        inputs = [
            self._constant(f"{label}.levels", whole),
            self._constant(f"{label}.scale", steps),
            self._constant(f"zeros.{len(steps)}", np.zeros(len(steps), np.int8)),
        ]
        return self._node("DequantizeLinear", inputs, f"{PREFIX}.{label}.weight", axis=axis)

    def _constant(self, label: str, value: Array | np.generic) -> str:
        from onnx import numpy_helper

        name = f"{PREFIX}.{label}"
        if name not in self.made:
            self.made[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        if output not in self.done:
            self.done.add(output)
            attributes = {"name": output, **attributes}
            self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def _evened(
    linears: Sequence[Linear],
    seen: Mapping[str, Range],
    tensors: Mapping[str, onnx.TensorProto],
    alpha: float,
) -> dict[str, tuple[int, Smoothing]]:
    """The smoothing of every input; inputs that share a weight share it, and a number."""
    members: dict[int, list[Linear]] = {}
    group = linear.groups(linears)
    for one in linears:
        members.setdefault(group[one.input], []).append(one)
    found = {}
    for number, ours in members.items():
        weights = {one.key: linear.matrix(one, tensors) for one in ours}
        wide = np.maximum.reduce([seen[one.input].magnitude for one in ours])
        smoothing = smooth(wide, list(weights.values()), alpha=alpha, outliers=0)
        found.update({one.input: (number, smoothing) for one in ours})
    return found
