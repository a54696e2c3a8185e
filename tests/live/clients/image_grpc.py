"""Classifies a picture: image_grpc.py HOST:PORT MODEL FILE prints a line `class score` each."""

import sys

import numpy as np
import tritonclient.grpc as triton
from PIL import Image

address, model, path = sys.argv[1:]
pixels = np.asarray(Image.open(path).convert("RGB"))[np.newaxis]
with triton.InferenceServerClient(address) as client:
    told = client.get_model_metadata(model)
    [wanted] = told.inputs
    tensor = triton.InferInput(wanted.name, list(pixels.shape), wanted.datatype)
    tensor.set_data_from_numpy(pixels)
    answer = client.infer(model, [tensor])
    names = {output.datatype: output.name for output in told.outputs}
    classes, scores = answer.as_numpy(names["INT64"])[0], answer.as_numpy(names["FP32"])[0]
for index, score in zip(classes, scores, strict=True):
    print(index, score)
