"""The actions of a model: its goldens, its artifact in each precision, proofs and config."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from builder.errors import InputError
from builder.plan import gpu
from builder.plan.action import Action
from builder.plan.draft import ModelPlan, VersionPlan, files_of, path_of, tensors, to_json
from builder.plan.needs import needs
from builder.spec.version import number
from builder.triton.opsets import aim

if TYPE_CHECKING:
    from builder.plan.draft import Draft
    from builder.spec.model import ModelSpec
    from builder.spec.target import Target


def plan(draft: Draft, spec: ModelSpec) -> ModelPlan:
    """Adds a model's actions.

    Raises:
        InputError: the target has no format for it.
    """
    possible = ("python",) if spec.format == "python" else ("onnx", "tensorrt")
    if not any(format_ in draft.target.formats for format_ in possible):
        raise InputError(
            f"target has no format for {spec.name}",
            where=draft.project.documents[spec.name].where(),
            found=", ".join(draft.target.formats),
            expected=possible[0],
            fix=f'add "{possible[0]}" to the target\'s formats',
        )
    make = _python_version if spec.format == "python" else _onnx_version
    versions = tuple(make(draft, spec, version) for version in spec.served)
    layers = {v: (spec.tolerance, spec.versions[v].tolerance) for v in spec.served}
    params = _serving(spec, draft.target) | gpu.serving(
        draft.target, spec, draft.project.documents[spec.name]
    )
    config = draft.config(spec.name, params, versions, layers)
    return ModelPlan(spec.name, versions, config, _heldout(draft, spec))


def _heldout(draft: Draft, spec: ModelSpec) -> str | None:
    if not spec.accuracy:
        return None
    return draft.add(
        Action(
            id=f"heldout {spec.name}",
            stage="heldout",
            params={"data": path_of(spec, spec.accuracy.data), "inputs": to_json(spec.inputs)},
            files=files_of(spec, spec.accuracy.data),
            tools=draft.toolchain.of("heldout", spec.requires),
            needs=needs("heldout"),
        )
    )


def _onnx_version(draft: Draft, spec: ModelSpec, version: str) -> VersionPlan:
    precision = spec.precision(version, draft.target.device)
    reference = _reference(draft, spec, version)
    params, files, suffix = recipe(draft, spec, version)
    loads = draft.release.loads
    artifact = draft.add(
        Action(
            id=reference.replace("reference", "export", 1),
            stage="export",
            params={
                **params,
                "dims": to_json(spec.dims),
                **asdict(aim(loads)),
                "loads": asdict(loads),
                "tolerance": to_json(spec.tolerance),
            },
            files=files,
            inputs={"reference": reference},
            tools=draft.toolchain.of("export", spec.requires),
            needs=needs("export", spec.build.memory),
            affinity=f"{spec.name}{suffix}",
        )
    )
    layers = [to_json(spec.tolerance), to_json(spec.versions[version].tolerance)]
    shapes = tensors(spec)
    if precision != "fp32":
        stage = gpu.INT8 if precision == "int8" and draft.target.device == "gpu" else precision
        artifact = draft.add(
            Action(
                id=f"{stage} {spec.name} {version}",
                stage=stage,
                params={
                    **shapes,
                    "recipe": spec.versions[version].recipe,
                    "tolerance": layers,
                },
                inputs={"onnx": artifact, "reference": reference},
                tools=draft.toolchain.of(stage),
                needs=needs(stage, spec.build.memory),
            )
        )
    proof = draft.add(
        Action(
            id=f"prove {spec.name} {version}",
            stage="prove",
            params={
                **shapes,
                "dims": to_json(spec.dims),
                "tolerance": layers,
                "precision": precision,
                "onnxruntime": draft.release.need("onnxruntime"),
            },
            inputs={"onnx": artifact, "reference": reference},
            tools=draft.toolchain.of("prove"),
            needs=needs("prove", spec.build.memory),
        )
    )
    compiled = gpu.plan(draft, spec, version, artifact)
    return VersionPlan(version, precision, artifact, reference, proof, compiled)


def _python_version(draft: Draft, spec: ModelSpec, version: str) -> VersionPlan:
    file, _, _ = spec.source.partition(":")
    artifact = draft.add(
        Action(
            id=f"python {spec.name}",
            stage="python",
            params={
                "source": path_of(spec, file),
                "files": path_of(spec, spec.files) if spec.files else None,
                "packages": list(spec.packages),
            },
            files={"source": path_of(spec, file), **files_of(spec, spec.files)},
            tools=draft.toolchain.of("python", [*spec.requires, *spec.packages]),
            needs=needs("python", spec.build.memory),
        )
    )
    return VersionPlan(version, "fp32", artifact, _reference(draft, spec, version), None)


def _reference(draft: Draft, spec: ModelSpec, version: str) -> str:
    """The goldens' action; versions that load the same module share it."""
    params, files, suffix = recipe(draft, spec, version)
    return draft.add(
        Action(
            id=f"reference {spec.name}{suffix}",
            stage="reference",
            params={**params, "samples": path_of(spec, spec.samples), "dims": to_json(spec.dims)},
            files={**files, **files_of(spec, spec.samples)},
            tools=draft.toolchain.of("reference", spec.requires),
            needs=needs("reference", spec.build.memory),
            affinity=f"{spec.name}{suffix}",
        )
    )


def recipe(
    draft: Draft, spec: ModelSpec, version: str
) -> tuple[dict[str, Any], dict[str, str], str]:
    """How a model's right answers are had: parameters, files, and what tells it apart."""
    if spec.reference:
        path = path_of(spec, spec.reference)
        return {"reference": path, **tensors(spec)}, files_of(spec, spec.reference), ""
    load = draft.project.loads.get(spec.name)
    passed = version if load and load.takes_version else None
    weights = spec.weights_of(version)
    files = files_of(spec, spec.source)
    if weights:
        files["weights"] = path_of(spec, weights[0])
    params = {
        "source": path_of(spec, spec.source),
        "version": passed,
        "weights": files.get("weights"),
        **tensors(spec),
    }
    own = passed or (version if spec.versions[version].weights else None)
    return params, files, f" {own}" if own else ""


def _serving(spec: ModelSpec, target: Target) -> dict[str, Any]:
    """A model's parameters for `builder.triton.config.model_config`."""
    batching = spec.batching or None
    return {
        "name": spec.name,
        "backend": "python" if spec.format == "python" else "onnxruntime",
        "max_batch_size": spec.max_batch,
        **tensors(spec),
        "versions": [number(v) for v in spec.served],
        "latest": getattr(spec.serve, "latest", None),
        "batching": to_json(batching) if batching and spec.batched else None,
        "timeout_us": spec.timeout,
        "instances": spec.instance_count,
        "kind": "KIND_GPU" if target.device == "gpu" and spec.format != "python" else "KIND_CPU",
        "warmup": list(dict.fromkeys(spec.warmup)),
        "config": spec.config,
        "where": f"models/{spec.name}/model.yaml config",
    }
