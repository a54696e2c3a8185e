"""Stage `reference`: what the model itself answers to the samples, as goldens.

A model of torch runs in fp32; a model in Python is a function of one sample; an ensemble
is its members' references, wired.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import InputError
from builder.spec.tolerance import resolve
from builder.stages import goldens
from builder.stages.agreement import compare
from builder.stages.goldens import Golden
from builder.stages.usercode import source
from builder.stages.usercode.answers import adapter, answers
from builder.stages.usercode.blame import Place, blaming
from builder.stages.usercode.observation import Observation, observing
from builder.stages.usercode.signature import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from builder.stages.job import Job

    Array = np.ndarray[Any, Any]
    Arrays = dict[str, Array]
    Reference = Callable[[Arrays], Arrays]
    """One sample's inputs to its outputs, both checked against the spec."""


def run(job: Job) -> dict[str, object]:
    """Writes `goldens.npy`.

    Facts: `samples` (how many), `reads` and `unstable` (see `Observation.facts`), and `note`
    where a model has something to say of itself.

    Raises:
        InputError: the source, its samples or its answers do not fit the spec.
    """
    seen: list[Observation] = []
    notes: list[str] = []
    signature = Signature.of(job.params)
    where = _where(job.params, job)
    samples = _samples(job.params, job, signature, seen)
    reference = _reference(job.params, job, seen, notes)
    found = []
    for number, inputs in enumerate(samples):
        outputs = _called(reference, inputs, number)
        sizes = signature.sizes(inputs)
        outputs = signature.checked_outputs(outputs, f"{where} outputs.{{name}}", sizes)
        _refuse_nan(inputs, outputs, where, number)
        found.append(Golden(inputs, outputs))
    _refuse_chance(reference, found[0], where, batched=signature.batched)
    goldens.write(job.out / goldens.FILE, found)
    facts: dict[str, object] = {
        "samples": len(found),
        **functools.reduce(Observation.__or__, seen, Observation()).facts(job.project),
    }
    return facts | ({"note": "; ".join(dict.fromkeys(notes))} if notes else {})


def _refuse_chance(reference: Reference, golden: Golden, where: str, *, batched: bool) -> None:
    """Asks the first sample again: a model that answers by chance has no right answer."""
    again = _called(reference, dict(golden.inputs), 0)
    for name, expected in golden.outputs.items():
        reason = compare(expected, again[name], resolve("fp32", name), batched=batched).reason
        if reason:
            raise InputError(
                "the model answers differently each time",
                where=f"{where} outputs.{name}",
                found=f"sample 0, asked twice: {reason}",
                expected="the same answer to the same sample",
                fix="remove the randomness from the model's forward (torch.rand, dropout that "
                "eval() does not turn off), or draw it from a generator with a fixed seed",
            )


def _reference(
    params: Mapping[str, Any], job: Job, seen: list[Observation], notes: list[str]
) -> Reference:
    if "steps" in params:
        return _ensemble(params, job, seen, notes)
    if params.get("reference"):
        return _python(params, job, seen)
    return _torch(params, job, seen, notes)


def _torch(
    params: Mapping[str, Any], job: Job, seen: list[Observation], notes: list[str]
) -> Reference:
    loaded = source.load(params, job.project)
    seen.append(loaded.observed)
    if loaded.note:
        notes.append(loaded.note)
    signature, place = Signature.of(params), loaded.place
    model = adapter(loaded.module, signature, place.spec)

    def reference(inputs: Arrays) -> Arrays:
        with observing(place) as observed, blaming(place, "running the model"):
            found = answers(model, inputs, signature)
        seen.append(observed())
        sizes = signature.sizes(inputs)
        return signature.checked_outputs(found, f"{place.spec} outputs.{{name}}", sizes)

    return reference


def _python(params: Mapping[str, Any], job: Job, seen: list[Observation]) -> Reference:
    function = source.function(params["reference"], job.project)
    seen.append(function.observed)
    signature = Signature.of(params)

    def reference(inputs: Arrays) -> Arrays:
        found, observed = source.invoke(function, dict(inputs), doing="answering a sample")
        seen.append(observed)
        if not isinstance(found, dict):
            raise InputError(
                f"`{function.place.function}` returned no dict",
                where=function.where,
                found=type(found).__name__,
                expected=f"a dict of numpy arrays: {', '.join(signature.outputs)}",
                fix="return {output name: array}",
            )
        return signature.checked_outputs(found, function.where, signature.sizes(inputs))

    return reference


def _ensemble(
    params: Mapping[str, Any], job: Job, seen: list[Observation], notes: list[str]
) -> Reference:
    steps = [
        (
            _reference(step["reference"], job, seen, notes),
            Signature.of(step["reference"]),
            step["inputs"],
            step["outputs"],
            _where(step["reference"], job),
        )
        for step in params["steps"]
    ]

    def reference(inputs: Arrays) -> Arrays:
        wires = dict(inputs)
        for member, signature, into, out, where in steps:
            given = signature.checked_inputs(
                {name: wires[wire] for name, wire in into.items()},
                f"{where} inputs.{{name}}",
                f"what the wires of {job.where} bring to input",
            )
            answer = member(given)
            wires |= {wire: answer[name] for name, wire in out.items()}
        return {name: wires[name] for name in params["outputs"]}

    return reference


def _samples(
    params: Mapping[str, Any], job: Job, signature: Signature, seen: list[Observation]
) -> list[Arrays]:
    """The samples, checked: of the model, or merged from an ensemble's members."""
    text = params["samples"]
    if isinstance(text, str):
        found, where = _listed(text, job, seen)
    else:
        found, where = _merged(text, job, seen), _where(params, job)
    return [
        signature.checked_inputs(sample, where, f"sample {n} input")
        for n, sample in enumerate(found)
    ]


def _listed(text: str, job: Job, seen: list[Observation]) -> tuple[list[dict[str, Any]], str]:
    function = source.function(text, job.project)
    found, observed = source.invoke(function, doing="making the samples")
    seen.append(observed)
    if not isinstance(found, list | tuple) or not found:
        raise InputError(
            f"`{function.place.function}` returned no samples",
            where=function.where,
            found="an empty list" if isinstance(found, list | tuple) else type(found).__name__,
            expected="a non-empty list of {input name: numpy array}",
            fix="return at least one real sample",
        )
    for number, sample in enumerate(found):
        if not isinstance(sample, dict):
            raise InputError(
                f"sample {number} is no dict",
                where=function.where,
                found=type(sample).__name__,
                expected="{input name: numpy array}",
                fix="return a list of dicts",
            )
    return list(found), function.where


def _merged(
    parts: list[Mapping[str, Any]], job: Job, seen: list[Observation]
) -> list[dict[str, Any]]:
    lists = [
        [
            {wire: sample[name] for wire, name in part["inputs"].items() if name in sample}
            for sample in _listed(part["samples"], job, seen)[0]
        ]
        for part in parts
    ]
    merged: list[dict[str, Any]] = []
    for group in zip(*lists, strict=False):
        sample: dict[str, Any] = {}
        for piece in group:
            sample |= piece
        merged.append(sample)
    return merged


def _called(reference: Reference, inputs: Arrays, number: int) -> Arrays:
    """The reference's answer; an error says which sample it was."""
    try:
        return reference(inputs)
    except InputError as error:
        shapes = ", ".join(f"{name} {list(a.shape)}" for name, a in inputs.items())
        parts = error.as_dict() | {"problem": f"{error.problem} (sample {number}: {shapes})"}
        raise type(error)(**parts) from error  # type: ignore[arg-type]


def _refuse_nan(inputs: Arrays, outputs: Arrays, where: str, number: int) -> None:
    if not all(np.isfinite(a).all() for a in inputs.values() if a.dtype.kind == "f"):
        return
    for name, array in outputs.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            share = int(np.isnan(array).sum())
            raise InputError(
                f"output `{name}` is NaN for finite inputs (sample {number})",
                where=f"{where} outputs.{name}",
                found=f"{share} of {array.size} elements are NaN",
                expected="finite numbers",
                fix="look for a division by zero, a log of zero or a row that is masked whole",
            )


def _where(params: Mapping[str, Any], job: Job) -> str:
    text = params.get("source") or params.get("reference")
    return Place.parse(text, job.project).spec if isinstance(text, str) else job.where
