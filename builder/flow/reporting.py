"""What a build has to say, out of its records and verdicts, left beside the repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.files import write_atomically
from builder.flow.assemble import lineage
from builder.report import measured
from builder.report.contents import BuildReport, ModelReport, VersionReport
from builder.triton.config import COMPLETED
from builder.validation.verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from builder.flow.context import Context
    from builder.flow.outcome import Outcome
    from builder.plan.draft import ModelPlan, VersionPlan
    from builder.plan.evaluate import Record
    from builder.repository.manifest import ModelEntry, VersionEntry


def report(context: Context, outcome: Outcome) -> BuildReport:
    """Everything about the models that a build was asked for."""
    verdicts = {(v.model, v.version): v for v in outcome.verdicts}
    servers = [v.server for v in outcome.verdicts]
    return BuildReport(
        target=context.target_name,
        release=context.target.triton,
        models=(
            *(_model(context, outcome, plan, verdicts) for plan in context.graph.models.values()),
            *(
                _kept(name, entry)
                for name, entry in outcome.manifest.models.items()
                if name not in context.graph.models
            ),
        ),
        server=servers[0] if servers else None,
        toolchain=outcome.manifest.toolchain,
        manifest=outcome.manifest.digest,
        touched=_touched(context, outcome),
    )


def _touched(context: Context, outcome: Outcome) -> frozenset[str] | None:
    """The models that something was done for; None where nothing was, or it was for all."""
    ran, found = set(outcome.ran), set(outcome.validated)
    for plan in context.graph.models.values():
        ids = {plan.config, *(id_ for v in plan.versions for id_ in lineage(v, outcome.records))}
        if ran & ids:
            found.add(plan.name)
    return frozenset(found) if 0 < len(found) < len(outcome.manifest.models) else None


def leave(context: Context, said: BuildReport) -> list[str]:
    """Writes the page and the JUnit file beside the repository, and what was measured.

    Returns:
        the names of those that are for people and for CI.
    """
    from builder.report.html import page
    from builder.report.junit import junit

    folder, name = context.reports, context.target_name
    written = {f"{name}.report.html": page(said), f"{name}.junit.xml": junit(said)}
    for file, text in written.items():
        write_atomically(folder / file, text.encode(), durable=False)
    if (now := measured.of(said)).loads:
        place = folder / measured.file(name)
        write_atomically(place, now.over(measured.kept(place)).encode(), durable=False)
    return [f"{folder.name}/{file}" for file in written]


def _model(
    context: Context,
    outcome: Outcome,
    plan: ModelPlan,
    verdicts: Mapping[tuple[str, str], Verdict],
) -> ModelReport:
    model = context.project.models.get(plan.name)
    ensemble = context.project.ensembles.get(plan.name)
    entry = outcome.manifest.models[plan.name]
    slo = model.slo.p99 if model else ensemble.slo.p99 if ensemble else None
    formats = {"python": "python", None: "onnx"}
    return ModelReport(
        name=plan.name,
        versions=tuple(
            _version(
                v,
                entry.versions[v.version],
                outcome.records,
                verdicts.get((plan.name, v.version)),
                slo / 1000 if slo else None,
            )
            for v in plan.versions
        ),
        format=formats[model.format] if model else "ensemble",
        description=(model or ensemble).description if model or ensemble else "",  # type: ignore[union-attr]
        members=tuple(dict.fromkeys(s.model for s in ensemble.steps)) if ensemble else (),
    )


def _kept(name: str, entry: ModelEntry) -> ModelReport:
    """A model that a build of others left as it was: what its manifest says, no figures."""
    versions, format_ = [], _format(entry)
    for version, own in entry.versions.items():
        checks = own.verdict.get("checks", ())
        findings = tuple(Finding(check, passed=True, figure="as before") for check in checks)
        server = own.verdict.get("server", "")
        verdict = Verdict(name, version, own.number, server, findings) if findings else None
        versions.append(
            VersionReport(
                version=version,
                number=own.number,
                precision=own.precision if format_ == "onnx" else None,
                files={file: size for file, (_, size) in own.files.items()},
                notes=own.recipe,
                note="; ".join(own.notes) or None,
                verdict=verdict,
            )
        )
    return ModelReport(
        name=name,
        versions=tuple(versions),
        format=format_,
        description="as it was before",
        members=tuple(entry.members),
    )


def _format(entry: ModelEntry) -> str:
    """By what lies in its version folders: the manifest has no other word for it."""
    if entry.members:
        return "ensemble"
    _, program = COMPLETED["python"]
    return "python" if any(program in own.files for own in entry.versions.values()) else "onnx"


def _version(
    plan: VersionPlan,
    entry: VersionEntry,
    records: Mapping[str, Record],
    verdict: Verdict | None,
    slo_p99_ms: float | None,
) -> VersionReport:
    notes = dict(entry.recipe)
    for id_ in lineage(plan, records):
        tried = records[id_].facts.get("tried") or []
        if len(tried) > 1 or (tried and "way" in tried[0]):
            notes[f"tried in {id_.partition(' ')[0]}"] = "; ".join(_tried(t) for t in tried)
    onnx = plan.proof is not None
    return VersionReport(
        version=plan.version,
        number=plan.number,
        precision=plan.precision if onnx else None,
        files={name: size for name, (_, size) in entry.files.items()},
        notes=notes,
        agreement=_agreement(records[plan.proof].facts) if plan.proof else {},
        note="; ".join(entry.notes) or None,
        slo_p99_ms=slo_p99_ms,
        verdict=verdict,
    )


def _tried(attempt: Any) -> str:
    if not isinstance(attempt, dict):
        return str(attempt)
    return ", ".join(f"{name} {value}" for name, value in attempt.items() if value is not None)


def _agreement(facts: Mapping[str, Any]) -> dict[str, float]:
    """The worst figure over all outputs, whichever way is worse."""
    outputs = facts.get("agreement", {}).values()
    least = {
        name: min(o[key] for o in outputs if key in o)
        for name, key in (("cosine", "cosine_min"), ("cosine_mean", "cosine_mean"))
        if any(key in o for o in outputs)
    }
    most = {
        name: max(o[name] for o in outputs if name in o)
        for name in ("relative", "mismatch")
        if any(name in o for o in outputs)
    }
    return {**least, **most}
