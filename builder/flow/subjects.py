"""What is put before the live server: models with their goldens, read from the store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from builder.spec.tolerance import resolve
from builder.stages import goldens
from builder.stages.heldout import LABELS
from builder.stages.job import GOLDENS
from builder.triton import probe
from builder.validation.subject import AccuracyGate, Subject, VersionSubject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from builder.flow.context import Context
    from builder.plan.draft import ModelPlan, VersionPlan
    from builder.plan.evaluate import Record
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.model import ModelSpec
    from builder.spec.tolerance import Precision, Tolerance
    from builder.stages.goldens import Golden
    from builder.triton.probe import Probe


def subjects(
    context: Context, records: Mapping[str, Record], tree: Path, names: Iterable[str]
) -> list[Subject]:
    """The named models as they lie in a tree, with what the server is to answer."""
    wanted = set(names)
    return [
        _ensemble(context, plan, context.project.ensembles[name], records, tree)
        if name in context.project.ensembles
        else _model(context, plan, context.project.models[name], records, tree)
        for name, plan in context.graph.models.items()
        if name in wanted
    ]


def _model(
    context: Context, plan: ModelPlan, spec: ModelSpec, records: Mapping[str, Record], tree: Path
) -> Subject:
    heldout = _goldens(context, records, plan.heldout)[0] if plan.heldout else None
    versions = []
    for version in plan.versions:
        layers = (spec.tolerance, spec.versions[version.version].tolerance)
        gate = None
        precision = cast("Precision", version.precision)
        if spec.accuracy and heldout and precision in spec.accuracy.top1:
            gate = AccuracyGate(
                heldout.inputs,
                heldout.outputs[LABELS],
                spec.accuracy.output,
                spec.accuracy.top1[precision],
            )
        found = _version(context, version, records, spec.outputs, layers, gate)
        versions.append(replace(found, probe=_probe(tree / plan.name, version)))
    weighs = context.target.device == "gpu" and spec.format != "python"
    return Subject(
        name=plan.name,
        config=(tree / plan.name / "config.pbtxt").read_text(encoding="utf-8"),
        inputs=spec.inputs,
        outputs=spec.outputs,
        dims=spec.dims,
        batched=spec.batched,
        max_batch=spec.max_batch,
        versions=tuple(versions),
        default=max(v.number for v in plan.versions),
        timeout_us=spec.timeout if spec.batched and spec.batching else None,
        warmup=spec.warmup,
        on_gpu=tree / plan.name if weighs else None,
    )


def _ensemble(
    context: Context, plan: ModelPlan, spec: EnsembleSpec, records: Mapping[str, Record], tree: Path
) -> Subject:
    dims = context.project.interfaces[spec.name].dims
    versions = tuple(
        replace(
            _version(context, v, records, spec.outputs, (spec.tolerance,), None),
            probe=_probe(tree / plan.name, v),
        )
        for v in plan.versions
    )
    return Subject(
        name=plan.name,
        config=(tree / plan.name / "config.pbtxt").read_text(encoding="utf-8"),
        inputs=spec.inputs,
        outputs=spec.outputs,
        dims=dims,
        batched=spec.batched,
        max_batch=dims["batch"].max if spec.batched else 0,
        versions=versions,
        default=max(v.number for v in plan.versions),
        ensemble=True,
        members=tuple(dict.fromkeys(s.model for s in spec.steps)),
    )


def _version(  # noqa: PLR0913 - a version's parts
    context: Context,
    plan: VersionPlan,
    records: Mapping[str, Record],
    outputs: Iterable[str],
    layers: tuple[Tolerance, ...],
    gate: AccuracyGate | None,
) -> VersionSubject:
    precision = cast("Precision", plan.precision)
    return VersionSubject(
        version=plan.version,
        number=plan.number,
        precision=precision,
        goldens=tuple(_goldens(context, records, plan.reference)),
        tolerance={name: resolve(precision, name, *layers) for name in outputs},
        accuracy=gate,
    )


def _probe(folder: Path, version: VersionPlan) -> Probe:
    """The probe as it lies in the tree: it is what ships that is asked."""
    where = f"{folder.parent.name}/{folder.name}"
    return probe.read(version.number, lambda name: (folder / name).read_bytes(), where)


def _goldens(context: Context, records: Mapping[str, Record], action: str) -> list[Golden]:
    return goldens.read(context.store.file(records[action].outputs[GOLDENS]))
