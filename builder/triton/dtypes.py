"""One name for a dtype in each house.

Source: the data type table of Triton's model configuration documentation, and
onnx.proto's TensorProto.DataType.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """A dtype's names: in config.pbtxt, on the wire, and its bytes an element (0: varies)."""

    config: str
    wire: str
    size: int


BY_SPEC = {
    "bool": Names("TYPE_BOOL", "BOOL", 1),
    "uint8": Names("TYPE_UINT8", "UINT8", 1),
    "uint16": Names("TYPE_UINT16", "UINT16", 2),
    "uint32": Names("TYPE_UINT32", "UINT32", 4),
    "uint64": Names("TYPE_UINT64", "UINT64", 8),
    "int8": Names("TYPE_INT8", "INT8", 1),
    "int16": Names("TYPE_INT16", "INT16", 2),
    "int32": Names("TYPE_INT32", "INT32", 4),
    "int64": Names("TYPE_INT64", "INT64", 8),
    "float16": Names("TYPE_FP16", "FP16", 2),
    "float32": Names("TYPE_FP32", "FP32", 4),
    "float64": Names("TYPE_FP64", "FP64", 8),
    "string": Names("TYPE_STRING", "BYTES", 0),
}
"""By the name that specs use, which is NumPy's (strings are arrays of bytes objects)."""
