"""Which linear layers eight bits hurt most, estimated without running the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from builder.stages.quantising import linear
from builder.stages.quantising.rowwise import scale_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from builder.stages.quantising.calibration import Range
    from builder.stages.quantising.linear import Layers, Linear


def sensitive(
    model: onnx.ModelProto, layers: Layers, ranges: Mapping[str, Range], *, share: float
) -> frozenset[str]:
    """Outputs of the linear layers that rounding hurts most, up to a share of all elements.

    Estimated layer by layer on the rows that calibration kept, no session needed: the
    error of the product with both sides at eight bits, relative to the product.
    """
    tensors = linear.constants(model)
    seen = [one for one in layers.linears if one.input in ranges]
    errors: list[tuple[float, Linear, int]] = []
    for one in seen:
        rows, matrix = ranges[one.input].rows, linear.matrix(one, tensors)
        step = scale_of(np.abs(rows).max(axis=1, keepdims=True))
        exact = rows @ matrix
        scale = scale_of(np.abs(matrix).max(axis=0))
        rough = (np.rint(rows / step) * step) @ (np.rint(matrix / scale) * scale)
        error = float(np.linalg.norm(rough - exact) / (np.linalg.norm(exact) + 1e-12))
        errors.append((round(error, 3), one, matrix.size))
    budget = share * sum(size for _, _, size in errors)
    chosen: set[str] = set()
    for _, one, size in sorted(errors, key=lambda entry: (-entry[0], entry[1].at)):
        if size <= budget:
            chosen.add(one.output)
            budget -= size
    return frozenset(chosen)
