"""Verdicts that are remembered: which version is proven, and which must go to the server.

A verdict is a result like any other: its key names the version's files, its goldens and
bounds, its members where it is an ensemble, the server, and the code of the checks.
Only passing ones are kept.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from builder.plan.action import digest
from builder.plan.evaluate import Record
from builder.spec.model import ModelSpec
from builder.spec.tolerance import resolve
from builder.store import digests
from builder.triton.probe import PREFIX
from builder.validation.verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from builder.flow.context import Context
    from builder.plan.draft import VersionPlan
    from builder.repository.manifest import ModelEntry, VersionEntry
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.tolerance import Precision

CHECKS = (
    "builder.validation.live",
    "builder.validation.probes.identity",
    "builder.flow.subjects",
)
SERVERS: Mapping[str, tuple[str, ...]] = {
    "embedded": (
        "builder.servers.embedded.server",
        "builder.servers.embedded.backends.onnxruntime.model",
    ),
    "container": ("builder.servers.containers.server",),
    "remote": ("builder.servers.remote",),
}
"""The builder's own code that decides a verdict: the checks', and by server its."""

NOTHING: Mapping[str, str] = {}


class Verdicts:
    """The verdicts of a build's versions, by model and version."""

    def __init__(
        self,
        context: Context,
        entries: Mapping[str, ModelEntry],
        records: Mapping[str, Record],
        server: Mapping[str, str] = NOTHING,
    ) -> None:
        self._store = context.store
        self._ingredients = {
            (model, version): _ingredients(context, entries, records, server, model, version)
            for model, entry in entries.items()
            for version in entry.versions
        }
        self.keys = {place: digest(parts) for place, parts in self._ingredients.items()}

    @cached_property
    def known(self) -> dict[tuple[str, str], Verdict]:
        """The verdicts that there are; looked up when they are first asked for."""
        self._store.expect(list(self.keys.values()))
        with self._store.passing():
            found = {place: self._store.find(key) for place, key in self.keys.items()}
        return {place: _decode(record.facts) for place, record in found.items() if record}

    def missing(self) -> list[str]:
        """The models that have a version without a verdict."""
        return list(dict.fromkeys(m for m, v in self._ingredients if (m, v) not in self.known))

    def learn(self, verdicts: Sequence[Verdict]) -> list[Record]:
        """Takes new verdicts in, and keeps those that passed; gives the records of these."""
        kept = []
        for verdict in verdicts:
            place = (verdict.model, verdict.version)
            self.known[place] = verdict
            if verdict.passed:
                ingredients = self._ingredients[place]
                facts = asdict(verdict)
                record = Record(self.keys[place], {}, facts, {}, ingredients)
                self._store.keep(record)
                kept.append(record)
        return kept

    def into(self, entries: Mapping[str, ModelEntry]) -> dict[str, ModelEntry]:
        """The entries with their verdicts, as the manifest says them."""
        return {
            model: replace(
                entry,
                versions={
                    version: replace(own, verdict=_said(self.known.get((model, version)), own))
                    for version, own in entry.versions.items()
                },
            )
            for model, entry in entries.items()
        }


def _said(verdict: Verdict | None, entry: VersionEntry) -> dict[str, Any]:
    if verdict is None:
        return entry.verdict
    checks = [finding.check for finding in verdict.findings]
    return {"passed": verdict.passed, "server": verdict.server, "checks": checks}


def _ingredients(  # noqa: PLR0913 - all that a verdict depends on
    context: Context,
    entries: Mapping[str, ModelEntry],
    records: Mapping[str, Record],
    server: Mapping[str, str],
    model: str,
    version: str,
) -> dict[str, Any]:
    plan = context.graph.models[model]
    spec = context.project.models.get(model) or context.project.ensembles[model]
    own = next(v for v in plan.versions if v.version == version)
    gate = _gate(spec, own.precision)
    heldout = records[plan.heldout].digest if plan.heldout and gate else None
    return {
        "stage": "validate",
        "params": {
            "model": model,
            "version": version,
            "precision": own.precision,
            "tree": sorted([name, sha] for name, (sha, _) in entries[model].tree()),
            "members": _members(context, entries, model),
            "bounds": _bounds(spec, own),
            "gate": gate,
            "timeout": getattr(spec, "timeout", None),
        },
        "files": {},
        "inputs": {"goldens": entries[model].versions[version].goldens, "heldout": heldout},
        "tools": {
            **{f"server {n}": v for n, v in {**context.runtime, **server}.items()},
            **{n: digests.distribution(n) or "" for n in ("numpy", "tritonclient")},
            "builder": digests.code(*CHECKS, *SERVERS[context.target.server]),
        },
    }


def _bounds(spec: ModelSpec | EnsembleSpec, own: VersionPlan) -> dict[str, Any]:
    """How far each output may lie from its golden."""
    layers = [spec.tolerance]
    if isinstance(spec, ModelSpec):
        layers.append(spec.versions[own.version].tolerance)
    precision = cast("Precision", own.precision)
    bounds = {name: resolve(precision, name, *layers) for name in spec.outputs}
    return {name: bound.model_dump(mode="json") for name, bound in bounds.items()}


def _gate(spec: ModelSpec | EnsembleSpec, precision: str) -> list[Any] | None:
    """The output that labels are held against, and the least share of right ones."""
    accuracy = spec.accuracy if isinstance(spec, ModelSpec) else None
    least = accuracy and accuracy.top1.get(cast("Precision", precision))
    return None if accuracy is None or least is None else [accuracy.output, least]


def _members(context: Context, entries: Mapping[str, ModelEntry], model: str) -> list[Any]:
    """The trees of everything below an ensemble, without probes: no server reads these."""
    spec = context.project.ensembles.get(model)
    found: list[Any] = []
    for step in spec.steps if spec else ():
        tree = sorted(
            [name, sha]
            for name, (sha, _) in entries[step.model].tree()
            if not name.startswith(PREFIX)
        )
        found.append([step.model, tree, _members(context, entries, step.model)])
    return found


def _decode(facts: Mapping[str, Any]) -> Verdict:
    findings = tuple(Finding(**finding) for finding in facts["findings"])
    return Verdict(**{**facts, "findings": findings})
