"""What a gpu target has beside: the preflight of each graph, and plans of TensorRT.

Plans are built for each compute capability of the target, each on a GPU of that one; a graph that
the preflight refuses gets no further, so that no GPU is booked for it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builder.errors import InputError
from builder.plan.action import Action
from builder.plan.draft import to_json
from builder.plan.needs import needs
from builder.spec.tensor import BATCH
from builder.triton import optimization
from builder.triton.profiles import buckets, profiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.plan.draft import Draft
    from builder.spec.document import Document
    from builder.spec.model import ModelSpec
    from builder.spec.target import Target

INT8 = "qdq"
"""The stage of int8 for a GPU: static, by Q/DQ pairs. What `int8` makes is for CPUs."""

WHERE = "pyproject.toml [tool.triton-builder.targets]"

TENSORRT_IMAGE = "nvcr.io/nvidia/tensorrt"
"""NVIDIA's image of TensorRT, by the month as Triton's."""

AMPERE = 8
"""The oldest compute capability, before the point, whose GPUs share a hardware-compatible plan."""


def plan(draft: Draft, spec: ModelSpec, version: str, graph: str) -> tuple[str, ...]:
    """Adds the actions of a version that only a gpu target has.

    Args:
        draft: takes the actions.
        spec: the model's.
        version: which of its versions.
        graph: the action that makes its ONNX graph, in the version's precision.

    Returns:
        the actions that build plans; none where it is the graph that is served.

    Raises:
        InputError: the release's TensorRT is not known, or nothing says for which GPUs to build.
    """
    target = draft.target
    if target.device != "gpu":
        return ()
    inputs = {"onnx": graph}
    if target.preflight:
        inputs["preflight"] = _preflight(draft, spec, version, graph)
    if not target.compiles:
        return ()
    found = draft.release.need("tensorrt")
    made = []
    for capability in dict.fromkeys(files(target).values()):
        params = {
            "profiles": _profiles(spec),
            "tf32": spec.precision(version, target.device) != "fp32",  # whose bounds are closer
            "capability": capability,
            "file": capability_file(capability),
            "tensorrt": found,
            **{k: v for k, v in to_json(target.tensorrt).items() if k != "builder_image"},
        }
        action = Action(
            id=f"tensorrt {spec.name} {version} cc {capability}",
            stage="tensorrt",
            params={"workspace": None, **params},
            inputs=inputs,
            tools={**draft.toolchain.of("tensorrt"), "tensorrt": found},
            needs=replace(
                needs("tensorrt", spec.build.memory),
                gpus=1,
                capability=capability,
                image=builder_image(target),
            ),
        )
        made.append(draft.add(action))
    return tuple(made)


def builder_image(target: Target) -> str | None:
    """The image that plans are built in; None where this machine's own TensorRT builds them."""
    chosen = target.tensorrt.builder_image
    return f"{TENSORRT_IMAGE}:{target.triton}-py3" if chosen is True else chosen or None


def capability_file(capability: str) -> str:
    """The file of the plan that was built on GPUs of a compute capability."""
    return f"model_cc{capability.replace('.', '')}.plan"


def files(target: Target) -> Mapping[str, str]:
    """On which compute capability the plan of each is built.

    Raises:
        InputError: there is none to build for, or one that no hardware-compatible plan does for.
    """
    wanted = target.compute_capabilities
    if not wanted:
        raise InputError(
            "nothing says which GPUs to build plans for",
            where=f"{WHERE} compute-capabilities",
            expected='compute capabilities: ["8.0", "9.0"]',
            fix="name those of the GPUs that will serve (nvidia-smi --query-gpu=compute_cap "
            '--format=csv), or leave "tensorrt" out of `formats`',
        )
    if not target.tensorrt.hardware_compatible:
        return {capability: capability for capability in wanted}
    old = [c for c in wanted if int(c.partition(".")[0]) < AMPERE]
    if old:
        raise InputError(
            f"no plan is hardware-compatible with compute capability {', '.join(old)}",
            where=f"{WHERE} tensorrt.hardware-compatible",
            found=", ".join(wanted),
            expected=f"{AMPERE}.0 or higher",
            fix=f"leave {', '.join(old)} out of `compute-capabilities`, or `hardware-compatible`",
        )
    return dict.fromkeys(wanted, wanted[0])


def serving(target: Target, spec: ModelSpec, document: Document) -> dict[str, Any]:
    """What differs in the parameters of a config where a GPU is; nothing elsewhere.

    Raises:
        InputError: what the spec says of GPUs does not go together, or with the target.
    """
    _check_config(target, spec, document)
    if spec.format == "python" or target.device != "gpu":
        return {}
    if not target.compiles:
        made = _accelerated(target, spec, document)
        return {"optimization": made} if made else {}
    asked = spec.gpu.cuda_graphs
    return {
        "backend": "tensorrt",
        "plans": {c: capability_file(built) for c, built in files(target).items()},
        "profiles": len(_profiles(spec)),
        **({"optimization": _captured(spec)} if asked else {}),
    }


def _captured(spec: ModelSpec) -> dict[str, Any]:
    """CUDA graphs at the shapes that the spec names, or at the best one of every profile."""
    asked = spec.gpu.cuda_graphs
    usual = {name: dim.max for name, dim in spec.dims.items()}
    if isinstance(asked, tuple):
        shapes = [{**usual, **sizes} for sizes in asked]
    elif spec.batched:
        preferred = spec.batching.preferred if spec.batching else ()
        ends = [bucket.best for bucket in buckets(spec.dims[BATCH], preferred)]
        shapes = [{**usual, BATCH: size} for size in ends]
    else:
        shapes = [usual]
    return optimization.cuda_graphs(spec.inputs, shapes, batched=spec.batched)


def _accelerated(target: Target, spec: ModelSpec, document: Document) -> dict[str, Any]:
    chosen = spec.gpu.accelerator or target.onnxruntime.accelerator
    if chosen != "tensorrt":
        return {}
    precisions = {version: spec.precision(version, target.device) for version in spec.served}
    if len(set(precisions.values())) > 1:
        raise InputError(
            "ONNX Runtime's TensorRT computes in one precision for all versions of a model: "
            "config.pbtxt is one",
            where=document.where(("gpu", "accelerator") if spec.gpu.accelerator else ("versions",)),
            found=", ".join(f"{version}: {p}" for version, p in precisions.items()),
            expected="served versions of one precision",
            fix="serve those of one (`serve`), or write `gpu: {accelerator: none}`",
        )
    preferred = spec.batching.preferred if spec.batching else ()
    return optimization.accelerated(
        precisions[spec.served[0]],
        profiles(spec.inputs, spec.dims, batched=spec.batched, preferred=preferred),
        workspace=target.onnxruntime.workspace,
        profiled=target.triton >= optimization.PROFILED,
    )


def _check_config(target: Target, spec: ModelSpec, document: Document) -> None:
    """Refuses what `config` says of a GPU on a target that has none, or that `gpu` says too."""
    said = spec.config.get("optimization")
    said = said if isinstance(said, dict) else {}
    accelerators = said.get("execution_accelerators")
    of_gpu = isinstance(accelerators, dict) and "gpu_execution_accelerator" in accelerators
    named = ["cuda"] if said.get("cuda") else []
    named += ["execution_accelerators"] if of_gpu else []
    for name in named:
        place = ("config", "optimization", name)
        if target.device != "gpu":
            raise InputError(
                f"`config.optimization.{name}` is about GPUs, and the target has none",
                where=document.where(place),
                found="device = cpu",
                fix="write it under `gpu`, which counts on gpu targets alone: "
                + ("`cuda_graphs: true`" if name == "cuda" else "`accelerator: tensorrt`"),
            )
        if spec.gpu.accelerator or spec.gpu.cuda_graphs or target.onnxruntime.accelerator:
            raise InputError(
                f"`config.optimization.{name}` is said twice",
                where=document.where(place),
                found=f"`gpu` of {spec.name}, or the target's `onnxruntime`, decides it too",
                fix="keep one of them",
            )


def _preflight(draft: Draft, spec: ModelSpec, version: str, graph: str) -> str:
    return draft.add(
        Action(
            id=f"preflight {spec.name} {version}",
            stage="preflight",
            params={
                "profiles": _profiles(spec),
                "capabilities": list(draft.target.compute_capabilities),
            },
            inputs={"onnx": graph},
            tools=draft.toolchain.of("preflight"),
            needs=needs("preflight", spec.build.memory),
        )
    )


def _profiles(spec: ModelSpec) -> list[dict[str, Any]]:
    preferred = spec.batching.preferred if spec.batching else ()
    found = profiles(spec.inputs, spec.dims, batched=spec.batched, preferred=preferred)
    return [
        {name: [list(shape) for shape in span] for name, span in profile.items()}
        for profile in found
    ]
