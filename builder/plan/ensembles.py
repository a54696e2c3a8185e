"""The actions of an ensemble: goldens composed of its members' references, and its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.plan.action import Action
from builder.plan.draft import ModelPlan, VersionPlan, files_of, path_of, tensors, to_json
from builder.plan.models import recipe
from builder.plan.needs import needs
from builder.spec.version import number

if TYPE_CHECKING:
    from builder.plan.draft import Draft
    from builder.spec.ensemble import EnsembleSpec, Step
    from builder.spec.model import ModelSpec
    from builder.spec.project import Project


def plan(draft: Draft, spec: EnsembleSpec) -> ModelPlan:
    """Adds an ensemble's actions: its goldens are its members' references, wired alike."""
    files: dict[str, str] = {}
    requires: set[str] = set()
    steps, samples = _wired(draft, spec, files, requires)
    dims = draft.project.interfaces[spec.name].dims
    reference = draft.add(
        Action(
            id=f"reference {spec.name}",
            stage="reference",
            params={
                "steps": steps,
                "samples": samples,
                **tensors(spec),
                "dims": to_json(dims),
            },
            files=files,
            tools=draft.toolchain.of("reference", sorted(requires)),
            needs=needs("reference", _memory(spec, draft.project)),
            affinity=spec.name,
        )
    )
    version = VersionPlan(spec.version, _weakest(draft, spec), None, reference, None)
    params = _composition(spec, draft.project)
    config = draft.config(spec.name, params, [version], {spec.version: [spec.tolerance]})
    return ModelPlan(spec.name, (version,), config)


def _wired(
    draft: Draft, spec: EnsembleSpec, files: dict[str, str], requires: set[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """An ensemble's steps as references of its members, and where its samples come from."""
    steps: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    for step in spec.steps:
        if step.model in draft.project.ensembles:
            inner = draft.project.ensembles[step.model]
            below, theirs = _wired(draft, inner, files, requires)
            reference: dict[str, Any] = {"steps": below, **tensors(inner)}
            sources = theirs
        else:
            member = draft.project.models[step.model]
            version = _version(member, step)
            reference, own, _ = recipe(draft, member, version)
            if any(wire in spec.inputs for wire in step.inputs.values()):
                own |= files_of(member, member.samples)
            files |= {f"{step.model} {role}": path for role, path in own.items()}
            requires |= set(member.requires)
            same = {name: name for name in member.inputs}
            sources = [{"samples": path_of(member, member.samples), "inputs": same}]
        steps.append(
            {"reference": reference, "inputs": dict(step.inputs), "outputs": dict(step.outputs)}
        )
        for source in sources:
            outer = {
                step.inputs[port]: name
                for port, name in source["inputs"].items()
                if step.inputs.get(port) in spec.inputs
            }
            if outer:
                samples.append({"samples": source["samples"], "inputs": outer})
    return steps, samples


def _memory(spec: EnsembleSpec, project: Project) -> int:
    """What the members' specs ask for together: their references are loaded side by side."""
    members = dict.fromkeys(step.model for step in spec.steps)
    inner = [_memory(project.ensembles[m], project) for m in members if m in project.ensembles]
    own = [project.models[m].build.memory or 0 for m in members if m in project.models]
    return sum(inner) + sum(own)


def _weakest(draft: Draft, spec: EnsembleSpec) -> str:
    """The lowest precision among the members: what the ensemble can promise."""
    order = ("fp32", "fp16", "int8")
    found = []
    for step in spec.steps:
        if step.model in draft.project.ensembles:
            found.append(_weakest(draft, draft.project.ensembles[step.model]))
        else:
            member = draft.project.models[step.model]
            found.append(member.precision(_version(member, step), draft.target.device))
    return max(found, key=order.index)


def _version(member: ModelSpec, step: Step) -> str:
    """The member's version that a step means, as the member writes it."""
    if step.version is None:
        return member.served[-1]
    return next(v for v in member.versions if number(v) == number(step.version))


def _composition(spec: EnsembleSpec, project: Project) -> dict[str, Any]:
    """An ensemble's parameters for `builder.triton.config.model_config`."""
    dims = project.interfaces[spec.name].dims
    steps = []
    for step in spec.steps:
        versions = project.interfaces[step.model].versions
        steps.append(
            {
                "model": step.model,
                "version": number(step.version or versions[-1]),
                "inputs": dict(step.inputs),
                "outputs": dict(step.outputs),
            }
        )
    return {
        "name": spec.name,
        "max_batch_size": dims["batch"].max if spec.batched else 0,
        **tensors(spec),
        "versions": [number(spec.version)],
        "steps": steps,
        "warmup": [],
        "where": f"ensembles/{spec.name}/ensemble.yaml",
    }
