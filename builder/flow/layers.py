"""A version held against the fp32 graph that it was made of, layer by layer, out of the store."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError
from builder.plan.evaluate import evaluate
from builder.report.layers import headline
from builder.spec.document import unknown
from builder.stages.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from builder.flow.context import Context
    from builder.plan.action import Action
    from builder.plan.draft import VersionPlan
    from builder.plan.evaluate import Record
    from builder.stages.comparing.layers import Comparison
    from builder.validation.verdict import Finding, Verdict

FP32, GOLDENS = "fp32", "goldens"
"""The precision that others are held against, and the check that says they miss it."""


def compare(context: Context, model: str, version: str, say: Callable[[str], None]) -> Comparison:
    """Compares the layers of a version, over its goldens, in the release's own ONNX Runtime.

    A version that could not be made, because it misses its goldens whatever is tried, is made all
    the same, as near to them as it comes.

    Raises:
        InputError: there is no such version, or it has no fp32 graph but itself.
        MissingError: the release's runtime is not to be had.
        WorkFailedError: what it was made of is not built, or ONNX Runtime refuses a graph.
    """
    from builder.stages.comparing import layers

    plan = _version(context, model, version)
    proof = context.graph.actions[plan.proof or ""]
    action = context.graph.actions[plan.artifact or ""]
    decisions = evaluate(context.graph, context.files, context.store)
    records = {d.action.id: d.record for d in decisions if d.record}
    missing = [name for name in action.inputs.values() if name not in records]
    if missing:
        raise WorkFailedError(
            "what the version is made of is not built",
            where=f"{model} {version}",
            found=", ".join(missing),
            fix=f"triton-builder build {model} --target {context.target_name}",
        )
    with context.store.scratch() as folder:
        inputs = {label: folder / label for label in (*action.inputs, "made")}
        out = folder / "out"
        for each in (*inputs.values(), out):
            each.mkdir()
        for label, name in action.inputs.items():
            _give(context, records[name], inputs[label])
        if action.id in records:
            _give(context, records[action.id], inputs["made"])
        else:
            say(f"{action.id} was refused: what came nearest is made once more")
            _made(context, action, inputs)
        runtime = context.prover(say)
        job = Job(proof.params, inputs, context.project.root, out, f"{model} {version}", runtime)
        return layers.compare(job)


def pointed(context: Context, verdict: Verdict) -> Verdict:
    """A verdict whose missed goldens say how to find the layer that departs, where that can be."""
    command = f"triton-builder compare {verdict.model} {verdict.version}"
    fix = f"{command} --target {context.target_name} names the layer that departs"
    return _with_goldens(context, verdict, lambda missed: replace(missed, fix=fix))


def explained(context: Context, verdict: Verdict, say: Callable[[str], None]) -> Verdict:
    """A verdict whose missed goldens name the layer that departs, where that can be told.

    Raises:
        As `compare`.
    """

    def explain(missed: Finding) -> Finding:
        say(f"comparing {verdict.model} {verdict.version} layer by layer")
        found = compare(context, verdict.model, verdict.version, say)
        said = f"in ONNX Runtime {found.onnxruntime}, {headline(found)}"
        return replace(missed, reason=f"{missed.reason}; {said}")

    return _with_goldens(context, verdict, explain)


def _with_goldens(
    context: Context, verdict: Verdict, change: Callable[[Finding], Finding]
) -> Verdict:
    """A verdict with another finding on its goldens, if what can be compared missed them."""
    plans = context.graph.models[verdict.model].versions
    plan = next(plan for plan in plans if plan.version == verdict.version)
    if plan.proof is None or plan.precision == FP32:
        return verdict
    missed = [f for f in verdict.failures if f.check == GOLDENS]
    changed = {id(finding): change(finding) for finding in missed}
    return replace(verdict, findings=tuple(changed.get(id(f), f) for f in verdict.findings))


def _version(context: Context, model: str, version: str) -> VersionPlan:
    plans = context.graph.models
    if model not in plans:
        raise unknown("model", model, list(plans), "command line")
    found = {plan.version: plan for plan in plans[model].versions}
    if version not in found:
        raise unknown(f"version of {model}", version, list(found), "command line")
    plan = found[version]
    if plan.proof is None or plan.precision == FP32:
        what = "is the fp32 graph itself" if plan.proof else "is no graph"
        others = [v.version for v in plans[model].versions if v.proof and v.precision != FP32]
        raise InputError(
            f"{model} {version} {what}, so its layers can be compared with nothing",
            where="command line",
            found=plan.precision if plan.proof else "Python code, or an ensemble",
            expected=", ".join(others) or "a version in fp16 or int8",
        )
    return plan


def _give(context: Context, record: Record, folder: Path) -> None:
    context.store.fetch(record.outputs)
    context.store.give(record.outputs, folder)


def _made(context: Context, action: Action, inputs: Mapping[str, Path]) -> None:
    """The best that the action's stage comes to, whether or not it keeps the tolerance."""
    given = {label: inputs[label] for label in action.inputs}
    root, out = context.project.root, inputs["made"]
    job = Job(action.params, given, root, out, action.id, anyway=True)
    importlib.import_module(f"builder.stages.{action.stage}").run(job)
