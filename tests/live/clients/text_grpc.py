"""Embeds texts: text_grpc.py HOST:PORT MODEL TEXT... prints one JSON array a text."""

import json
import sys

import numpy as np
import tritonclient.grpc as triton

address, model, *texts = sys.argv[1:]
with triton.InferenceServerClient(address) as client:
    told = client.get_model_metadata(model)
    [wanted], [given] = told.inputs, told.outputs
    for text in texts:
        tensor = triton.InferInput(wanted.name, [1, 1], wanted.datatype)
        tensor.set_data_from_numpy(np.array([[text]], dtype=object))
        vector = client.infer(model, [tensor]).as_numpy(given.name)[0]
        print(json.dumps(vector.tolist()))
