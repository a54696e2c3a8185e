"""ONNX graphs into TensorRT's plans: by TensorRT itself, or by TensorRT-RTX as its stand-in."""
