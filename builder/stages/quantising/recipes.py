"""The int8 recipes: what each does to a graph, and which are tried, in order, for which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder.stages.quantising import convolution, linear, recurrent, rowwise
from builder.stages.quantising.sensitivity import sensitive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from builder.stages.goldens import Golden
    from builder.stages.quantising.calibration import Range

Effort = Literal["default", "accurate"]

CONVOLUTIONS_MATTER = 0.02
"""Share of a graph's weights below which convolutions stay fp32 (a ViT's patches, say)."""

COMFORT: Mapping[Effort, float] = {"default": 0.5, "accurate": 0.05}
"""Share of the tolerance that a recipe may use and be taken without trying another; where
none is so good, the best of all."""


@dataclass(frozen=True)
class Recipe:
    """One way to int8.

    Attributes:
        alpha: how much of an activation's unevenness moves into the weights.
        outliers: channels of each activation that bypass the quantised product.
        floating: share of the linear layers' elements that stay floating, worst first.
        static: how convolutions get their scales; None leaves them fp32.
        flow: the operators quantised along with convolutions.
        edges: whether the first and the last convolution stay fp32.
    """

    alpha: float = 0.5
    outliers: int = 0
    floating: float = 0.0
    static: convolution.Method | None = None
    flow: tuple[str, ...] = convolution.FLOW
    edges: bool = False

    def __str__(self) -> str:
        parts = [f"smooth-rowwise alpha={self.alpha:g}"]
        parts += [f"outliers={self.outliers}"] if self.outliers else []
        parts += [f"floating={self.floating:g}"] if self.floating else []
        parts += [f"static-conv={self.static}"] if self.static else []
        parts += ["edges=fp32"] if self.edges else []
        return " ".join(parts)


@dataclass(frozen=True)
class Subject:
    """A graph and what calibration saw of it.

    `model` is fp32 but for LSTMs, that are quantised alike by every recipe.
    """

    model: onnx.ModelProto
    layers: linear.Layers
    ranges: Mapping[str, Range]
    samples: Sequence[Golden]

    def made_by(self, recipe: Recipe) -> onnx.ModelProto:
        """The model, quantised by a recipe."""
        model, layers = self.model, self.layers
        if recipe.static is not None:
            convolutions = [n.name for n in model.graph.node if n.op_type == "Conv"]
            model = convolution.quantise(
                model,
                self.samples,
                method=recipe.static,
                flow=recipe.flow,
                keep=[convolutions[0], convolutions[-1]] if recipe.edges else [],
            )
            layers = linear.find(model, linear.constants(model))
        floating = (
            sensitive(model, layers, self.ranges, share=recipe.floating)
            if recipe.floating
            else frozenset()
        )
        return rowwise.quantise(
            model,
            layers,
            self.ranges,
            alpha=recipe.alpha,
            outliers=recipe.outliers,
            floating=floating,
        )


def candidates(model: onnx.ModelProto, layers: linear.Layers, effort: Effort) -> list[Recipe]:
    """The recipes to try, in order; empty where there is nothing to quantise."""
    tensors = linear.constants(model)
    convolved = convolution.elements(model, tensors)
    names = {one.weight for one in layers.linears} | {one.table for one in layers.embeddings}
    multiplied = sum(tensors[name].dims[0] * tensors[name].dims[1] for name in names)
    if convolved and convolved >= CONVOLUTIONS_MATTER * (convolved + multiplied):
        return _convolutional(model, layers, effort)
    if not layers and not recurrent.quantised(model):
        return []
    if effort == "accurate":
        return [
            Recipe(outliers=8, floating=0.5),
            Recipe(outliers=32, floating=0.8),
            Recipe(alpha=0.65, outliers=32, floating=0.8),
        ]
    return [
        Recipe(),
        Recipe(outliers=8),
        Recipe(alpha=0.65, outliers=8),
        Recipe(alpha=0.0, outliers=8),
        Recipe(outliers=8, floating=0.35),
    ]


def _convolutional(model: onnx.ModelProto, layers: linear.Layers, effort: Effort) -> list[Recipe]:
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    # Among many linear layers the sums are a transformer's residuals: too wide for one scale
    flow = convolution.FLOW if convolutions >= len(layers.linears) else ("Conv",)
    if effort == "accurate":
        return [
            Recipe(static="minmax", flow=flow, outliers=8),
            Recipe(static="percentile", flow=flow, outliers=8),
            Recipe(static="percentile", flow=flow, outliers=8, edges=True),
            Recipe(static="percentile", flow=("Conv",), outliers=8, floating=0.5, edges=True),
        ]
    return [
        Recipe(static="minmax", flow=flow),
        Recipe(static="percentile", flow=flow),
        Recipe(static="percentile", flow=flow, outliers=8, edges=True),
        Recipe(static="minmax", flow=("Conv",), outliers=8, edges=True),
        Recipe(outliers=8),
    ]
