"""Embeds texts: text_http.py HOST:PORT MODEL TEXT... prints one JSON array a text."""

import json
import sys

import numpy as np
import tritonclient.http as triton

address, model, *texts = sys.argv[1:]
with triton.InferenceServerClient(address) as client:
    told = client.get_model_metadata(model)
    [wanted], [given] = told["inputs"], told["outputs"]
    column = np.array([[text.encode()] for text in texts], dtype=object)
    tensor = triton.InferInput(wanted["name"], list(column.shape), wanted["datatype"])
    tensor.set_data_from_numpy(column)
    answer = client.infer(model, [tensor]).as_numpy(given["name"])
for vector in answer:
    print(json.dumps(vector.tolist()))
