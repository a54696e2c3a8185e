"""A client process: asks on and on, over HTTP and gRPC, and writes down each answer.

    python client.py HTTP GRPC FILE MODEL…

A line each: when it was asked and answered (seconds of the epoch), how, which model, and what came:
the version and the factor, or an error. It ends when its standard input does.
"""

from __future__ import annotations

import http.client
import json
import struct
import sys
import threading
import time

CONNECTIONS = 4
"""A model and protocol."""
X = 7


def main(over_http: str, over_grpc: str, file: str, models: list[str]) -> None:
    stop, lock = threading.Event(), threading.Lock()
    with open(file, "w", encoding="utf-8") as out:  # noqa: PTH123

        def ask(how: str, model: str, once) -> None:
            while not stop.is_set():
                asked = time.time()
                try:
                    said = once()
                except Exception as e:  # noqa: BLE001 - whatever it is, a request failed
                    said = {"error": f"{type(e).__name__}: {e}"}
                line = {"asked": asked, "answered": time.time(), "how": how, "model": model}
                with lock:
                    out.write(json.dumps({**line, **said}) + "\n")
                time.sleep(0.005)

        threads = [
            threading.Thread(target=ask, args=(how, model, make(address, model)), daemon=True)
            for how, make, address in (("http", _http, over_http), ("grpc", _grpc, over_grpc))
            for model in models
            for _ in range(CONNECTIONS)
        ]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join(60)
        with lock:
            out.flush()


def _http(address: str, model: str):
    body = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [X, X]}]}
    content = json.dumps(body).encode()
    connection = http.client.HTTPConnection(address, timeout=60)

    def once():
        try:
            connection.request("POST", f"/v2/models/{model}/infer", content)
            response = connection.getresponse()
            said = json.loads(response.read())
        except Exception:
            connection.close()
            raise
        if response.status != 200:
            return {"error": f"{response.status}: {said}"}
        return {
            "version": int(said["model_version"]),
            "factor": said["outputs"][0]["data"][0] / X,
        }

    return once


def _grpc(address: str, model: str):
    from tritonclient import grpc

    client = grpc.InferenceServerClient(address)
    tensor = grpc.InferInput("x", [1, 2], "INT32")
    tensor._raw_content = struct.pack("<2i", X, X)  # without NumPy: it is quicker

    def once():
        result = client.infer(model, [tensor], client_timeout=60).get_response()
        (y, _) = struct.unpack("<2i", result.raw_output_contents[0])
        return {"version": int(result.model_version), "factor": y / X}

    return once


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
