"""Stage `tensorrt`: an ONNX graph as a plan for GPUs of one compute capability, built on one.

A plan loads in the TensorRT that made it, so it must be the target release's. No two builds give
the same bytes: a plan's action is keyed on what it is made of, and its output known by its digest.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import MissingError
from builder.stages.compiling import compiler, device
from builder.stages.job import MODEL
from builder.triton import plans
from builder.triton.releases import table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any

    from builder.stages.job import Job

IMAGE = "nvcr.io/nvidia/tensorrt"
"""NVIDIA's image of TensorRT, by the month as Triton's."""

TIMINGS = "TRITON_BUILDER_TIMING_CACHE"
"""The variable that names a folder for timing caches: what layers took is not measured again."""


def run(job: Job) -> dict[str, object]:
    """Builds `onnx` into the file that the action names.

    Facts: `library`, `layers`, `size`.

    Raises:
        MissingError: there is no TensorRT, another one than the release's, or no such GPU.
        WorkFailedError: TensorRT refuses the graph.
    """
    params = job.params
    library = _library(params)
    _same(library.__version__, params["tensorrt"])
    device.use(params["capability"], device.driver())
    kept = _timings(library.__version__, params["capability"])
    plan = compiler.build(
        library, job.inputs["onnx"] / MODEL, params["profiles"], _options(params, kept), job.where
    )
    _says(plan.content, params["tensorrt"])
    if kept and plan.timings:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_bytes(plan.timings)
        aside.replace(kept)
    (job.out / params["file"]).write_bytes(plan.content)
    return {
        "library": f"tensorrt {library.__version__}",
        "layers": plan.layers,
        "size": len(plan.content),
    }


def _options(params: Mapping[str, Any], kept: Path | None) -> compiler.Options:
    timings = None
    if kept:
        timings = kept.read_bytes() if kept.is_file() else b""
    return compiler.Options(
        workspace=params["workspace"],
        tf32=params["tf32"],
        version_compatible=params["version_compatible"],
        hardware_compatible=params["hardware_compatible"],
        timings=timings,
    )


def _timings(version: str, capability: str) -> Path | None:
    folder = os.environ.get(TIMINGS)
    return Path(folder) / f"tensorrt-{version}-{capability}" if folder else None


def _library(params: Mapping[str, Any]) -> ModuleType:
    try:
        return importlib.import_module("tensorrt")
    except ImportError as e:
        raise MissingError(
            "TensorRT is not installed",
            found=str(e),
            expected=f"TensorRT {params['tensorrt']}, as in the target's Triton release",
            fix=_way(params["tensorrt"]),
        ) from e


def _same(found: str, wanted: str) -> None:
    """Refuses another TensorRT than the release's; a build number that one leaves out is no other.

    Raises:
        MissingError: it is another one.
    """
    if not plans.loads(wanted, found):
        raise MissingError(
            f"a plan of TensorRT {found} does not load in the target's Triton release",
            found=f"TensorRT {found} here",
            expected=f"TensorRT {wanted}",
            fix=_way(wanted),
        )


def _says(plan: bytes, wanted: str) -> None:
    """Refuses a plan that is of another version than the package says: its library was another's.

    Raises:
        MissingError: it is.
    """
    maker = plans.maker(plan)
    if maker and not plans.loads(wanted, maker.version):
        raise MissingError(
            "the plan that was built is of another TensorRT than the package says",
            found=f"a plan of {maker}",
            expected=f"TensorRT {wanted}",
            fix="let no other libnvinfer come first: LD_LIBRARY_PATH, or another installation of "
            "TensorRT",
        )


def _way(wanted: str) -> str:
    """How to come by a TensorRT: NVIDIA's images of one month have one."""
    months = [release.name for release in table().values() if release.tensorrt == wanted]
    inside = ""
    if months:
        image = f"{IMAGE}:{months[-1]}-py3"
        inside = f", or set tensorrt.builder-image for the target: {image} has it (docs/gpu.md)"
    return f"pip install 'tensorrt=={'.'.join(wanted.split('.')[:3])}'{inside}"
