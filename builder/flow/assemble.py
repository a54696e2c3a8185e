"""From records to what a repository holds: its manifest's entries, and its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder import __version__
from builder.plan.action import digest
from builder.repository.manifest import Manifest, ModelEntry, VersionEntry
from builder.stages.job import GOLDENS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builder.flow.context import Context
    from builder.plan.draft import VersionPlan
    from builder.plan.evaluate import Record
    from builder.repository.manifest import Outputs

KEEP = "ensemble"
"""The file in an ensemble's version folder: an empty folder vanishes from object stores."""

NOTHING: Mapping[str, str] = {}

UNVALIDATED: Mapping[str, Any] = {"passed": False, "reason": "not validated"}


def entries(context: Context, records: Mapping[str, Record]) -> dict[str, ModelEntry]:
    """What was built, by model; no version has a verdict yet."""
    keep = context.store.put(b"Triton runs this version itself, out of its members.\n")
    return {
        plan.name: ModelEntry(
            spec=digest(_spec(context, plan.name).model_dump(mode="json", exclude={"build"})),
            files=dict(records[plan.config].outputs),
            versions={v.version: _version(v, records, keep) for v in plan.versions},
            members=_members(context, plan.name),
        )
        for plan in context.graph.models.values()
    }


def manifest(
    context: Context,
    models: Mapping[str, ModelEntry],
    server: Mapping[str, str] = NOTHING,
    before: Mapping[str, str] = NOTHING,
) -> Manifest:
    """The manifest of a repository with these models, and nothing that varies by run.

    Args:
        context: the project, seen for its target.
        models: by name.
        server: what they are proven on, beyond the target's runtime.
        before: the toolchain of the repository that some of the models are kept of: which of
            its tools made them, it does not say.
    """
    tools: dict[str, str] = {**before, "triton-builder": __version__}
    for action in context.graph.actions.values():
        if action.stage == "preflight":
            continue  # it makes nothing: a release is the same whatever asked before it
        tools |= {n: v for n, v in action.tools.items() if n != "builder"}
    tools |= {f"server {name}": version for name, version in {**context.runtime, **server}.items()}
    return Manifest(
        target=context.target_name,
        triton=context.target.triton,
        device=context.target.device,
        toolchain=tools,
        models=dict(models),
    )


def _spec(context: Context, name: str) -> Any:
    return context.project.models.get(name) or context.project.ensembles[name]


def _members(context: Context, name: str) -> list[str]:
    ensemble = context.project.ensembles.get(name)
    return sorted({step.model for step in ensemble.steps}) if ensemble else []


def _version(
    plan: VersionPlan, records: Mapping[str, Record], keep: tuple[str, int]
) -> VersionEntry:
    laid = {n: out for id_ in plan.laid for n, out in records[id_].outputs.items()}
    files: Outputs = laid if plan.laid else {KEEP: keep}
    made = [records[id_] for id_ in lineage(plan, records)]
    recipe = {k: str(r.facts[k]) for r in made for k in ("way", "recipe") if r.facts.get(k)}
    notes = [str(r.facts["note"]) for r in made if r.facts.get("note")]
    return VersionEntry(
        number=plan.number,
        precision=plan.precision,
        files=files,
        goldens=records[plan.reference].outputs[GOLDENS][0],
        recipe=recipe,
        notes=list(dict.fromkeys(notes)),
        verdict=dict(UNVALIDATED),
    )


def lineage(plan: VersionPlan, records: Mapping[str, Record]) -> list[str]:
    """The actions that a version came through: reference, export, quantisation."""
    found = [plan.reference]
    if plan.artifact:
        stage = plan.artifact.partition(" ")[0]
        if stage not in {"export", "python"}:
            found.append(plan.reference.replace("reference", "export", 1))
        found.append(plan.artifact)
    return [id_ for id_ in found if id_ in records]
