"""LSTMs in int8, by ONNX Runtime's dynamic quantisation (its DynamicQuantizeLSTM kernel).

GRU and RNN have no int8 kernel and stay fp32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.stages import artifact
from builder.stages.quantising.convolution import quiet
from builder.stages.quantising.folding import fold

if TYPE_CHECKING:
    import onnx


def present(model: onnx.ModelProto) -> bool:
    """Whether the graph holds an LSTM."""
    return any(node.op_type == "LSTM" for node in model.graph.node)


def quantise(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with its LSTMs in int8, a scale a gate's column."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source = onnx.ModelProto()
    source.CopyFrom(model)  # the quantiser edits what it is given
    fold(source)
    with tempfile.TemporaryDirectory() as folder, quiet():
        target = Path(folder) / artifact.FILE
        quantize_dynamic(
            source,
            str(target),
            op_types_to_quantize=["LSTM"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


def quantised(model: onnx.ModelProto) -> bool:
    """Whether the graph holds an LSTM in int8."""
    return any(node.op_type == "DynamicQuantizeLSTM" for node in model.graph.node)
