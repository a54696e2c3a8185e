"""Stage `preflight`: whether NVIDIA's parser and builder take a graph, before a GPU is booked.

TensorRT-RTX has the parser and the API of TensorRT, and builds without a GPU. What it builds is
thrown away: Triton wants plans of TensorRT itself. Nothing is written; success is the output.
docs/gpu.md says what this proves, and what it does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from builder.errors import MissingError
from builder.stages.compiling import compiler
from builder.stages.job import MODEL

if TYPE_CHECKING:
    from types import ModuleType

    from builder.stages.job import Job

LIBRARY = "tensorrt_rtx"
VERSION = "1.7.1.116"
"""The one that these words and facts were seen with."""

TURING = "7.5"
"""TensorRT-RTX has no fp32 products there, TensorRT has: what it says of it means nothing."""

STAND_IN = "8.9"
"""What is built for where the library can build for none of the target's GPUs (9.0 and 10.0)."""


def run(job: Job) -> dict[str, object]:
    """Builds `onnx` for the target's GPUs with the library at hand.

    Facts: `library`, `layers`, `profiles` (how many), `built_for` and `not_built_for`, the compute
    capabilities of the target that the library can and cannot build for.

    Raises:
        MissingError: TensorRT-RTX is not installed.
        WorkFailedError: it refuses the graph.
    """
    library = _library()
    wanted = job.params["capabilities"]
    built = compiler.names(library, [c for c in wanted if c != TURING])
    names = built or compiler.names(library, [STAND_IN])
    plan = compiler.build(
        library,
        job.inputs["onnx"] / MODEL,
        job.params["profiles"],
        compiler.Options(capabilities=tuple(names.values())),
        job.where,
    )
    return {
        "library": f"tensorrt-rtx {library.__version__}",
        "layers": plan.layers,
        "profiles": len(job.params["profiles"]),
        "built_for": list(built),
        "not_built_for": [c for c in wanted if c not in built],
        **({} if built else {"stand_in": STAND_IN}),
    }


def _library() -> ModuleType:
    try:
        return importlib.import_module(LIBRARY)
    except ImportError as e:
        raise MissingError(
            "TensorRT-RTX, which checks the graphs of gpu targets, is not installed",
            found=str(e),
            expected="the package tensorrt-rtx",
            fix=f"pip install 'tensorrt-rtx>={VERSION}', or 'triton-builder[gpu]'; "
            "`preflight = false` for the target leaves the check out",
        ) from e
