"""Gives back every tensor as it came. Runs in the server's Python stub, by path."""

from typing import Any

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """What Triton's Python backend looks for in this file."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, each input as the output of its name."""
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(f"{t.name()}_BACK", t.as_numpy()) for t in request.inputs()]
            )
            for request in requests
        ]
