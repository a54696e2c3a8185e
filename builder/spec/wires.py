"""Ensembles checked against their members: every wire has two fitting ends, and none a loop.

Triton would refuse such an ensemble when it loads, hours later and with less to say.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.spec.currents import implied, mismatches
from builder.spec.document import suggestion
from builder.spec.interface import Interface
from builder.spec.tensor import BATCH
from builder.spec.version import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.spec.document import Document, Place
    from builder.spec.ensemble import EnsembleSpec, Step


def order(ensembles: Mapping[str, EnsembleSpec], documents: Mapping[str, Document]) -> list[str]:
    """The ensembles, members first.

    Raises:
        InputError: an ensemble contains itself.
    """
    graph = {
        name: {s.model for s in spec.steps if s.model in ensembles}
        for name, spec in ensembles.items()
    }
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as e:
        cycle = list(reversed(e.args[1]))
        raise InputError(
            "ensembles contain one another in a cycle",
            where=documents[cycle[0]].where(("steps",)),
            found=" → ".join(cycle),
            expected="members that do not lead back",
        ) from None


def check(
    spec: EnsembleSpec, document: Document, members: Mapping[str, Interface]
) -> tuple[Interface | None, list[InputError]]:
    """Checks one ensemble; gives its interface, with the dimensions that its members imply."""
    found = list(_members(spec, document, members))
    if found:
        return None, found
    written, clashes = _sources(spec, document)
    found += clashes
    found += _readers_have_sources(spec, document, written)
    found += _no_cycle(spec, document)
    found += _batching(spec, document, members)
    if found:
        return None, found
    dims = {**implied(spec, members), **spec.dims}
    missing = [
        document.error(
            ("inputs", name, "shape", axis),
            f"dimension `{size}` is not declared, and no member says how large it may be",
            fix=f"add `{size}: {{max: ...}}` to dims",
        )
        for name, tensor in spec.inputs.items()
        for axis, size in enumerate(tensor.shape)
        if isinstance(size, str) and size not in dims
    ]
    if missing:
        return None, missing
    found = list(mismatches(spec, document, members, dims))
    together = _together(spec, members)
    return Interface(spec.inputs, spec.outputs, dims, (spec.version,), together), found


def _together(spec: EnsembleSpec, members: Mapping[str, Interface]) -> tuple[str, ...]:
    read = {wire for step in spec.steps for wire in step.inputs.values()}
    for step in spec.steps:
        if members[step.model].together:
            read |= set(step.outputs.values())
    return tuple(name for name in spec.outputs if name in read)


def _members(
    spec: EnsembleSpec, document: Document, members: Mapping[str, Interface]
) -> Iterator[InputError]:
    for i, step in enumerate(spec.steps):
        member = members.get(step.model)
        if member is None:
            yield document.error(
                ("steps", i, "model"),
                f"no model `{step.model}`",
                found=step.model,
                expected=", ".join(sorted(members)) or "a model under models/",
                fix=suggestion(step.model, list(members)),
            )
            continue
        if step.version and number(step.version) not in map(number, member.versions):
            yield document.error(
                ("steps", i, "version"),
                f"{step.model} serves no version {step.version}",
                found=step.version,
                expected=", ".join(member.versions),
            )
        yield from _ports(spec, step, i, document, member)


def _ports(
    spec: EnsembleSpec, step: Step, i: int, document: Document, member: Interface
) -> Iterator[InputError]:
    for side, wired, known in (
        ("inputs", step.inputs, member.inputs),
        ("outputs", step.outputs, member.outputs),
    ):
        for name in wired:
            if name not in known:
                yield document.error(
                    ("steps", i, side, name),
                    f"{step.model} has no {side[:-1]} `{name}`",
                    expected=", ".join(known),
                    fix=suggestion(name, list(known)),
                )
    missing = [name for name in member.outputs if name not in step.outputs]
    if missing and member.together:
        yield document.error(
            ("steps", i, "outputs"),
            f"outputs of {step.model} are left out, and it can only give all of them at once: its "
            f"own steps read {', '.join(member.together)} as well, where Triton deadlocks",
            found=", ".join(step.outputs),
            expected=", ".join(member.outputs),
            fix=f"wire {', '.join(missing)} too, as outputs of this ensemble if nothing reads them",
        )
    for name in member.inputs:
        if name not in step.inputs:
            yield document.error(
                ("steps", i, "inputs"),
                f"input `{name}` of {step.model} is not wired",
                found=", ".join(step.inputs),
                expected=f"`{name}: <wire>`, one of {', '.join(_wires(spec))}",
            )


def _wires(spec: EnsembleSpec) -> list[str]:
    return [*spec.inputs, *(w for s in spec.steps for w in s.outputs.values())]


def _sources(spec: EnsembleSpec, document: Document) -> tuple[dict[str, Place], list[InputError]]:
    """Where each wire comes from; a wire that two steps write is a mistake."""
    written: dict[str, Place] = {name: ("inputs", name) for name in spec.inputs}
    clashes = []
    for i, step in enumerate(spec.steps):
        for port, wire in step.outputs.items():
            place = ("steps", i, "outputs", port)
            if wire in written:
                clashes.append(
                    document.error(
                        place,
                        f"wire `{wire}` has two sources",
                        found=f"also written at {document.where(written[wire])}",
                        fix="give one of them another name",
                    )
                )
            written.setdefault(wire, place)
    return written, clashes


def _readers_have_sources(
    spec: EnsembleSpec, document: Document, written: Mapping[str, Place]
) -> Iterator[InputError]:
    wires = list(written)
    read = set()
    for i, step in enumerate(spec.steps):
        for port, wire in step.inputs.items():
            read.add(wire)
            if wire not in written:
                yield document.error(
                    ("steps", i, "inputs", port),
                    f"wire `{wire}` comes from nowhere",
                    found=wire,
                    expected=", ".join(wires),
                    fix=suggestion(wire, wires),
                )
    for name in spec.inputs:
        if name not in read:
            yield document.error(("inputs", name), f"no step reads input `{name}`")
    for wire, place in written.items():
        if wire not in read and wire not in spec.outputs and wire not in spec.inputs:
            yield document.error(
                place,
                f"nothing reads wire `{wire}`, and Triton refuses an ensemble with such a wire",
                expected="a wire that a step reads or that is an output",
                fix="leave it out of the step's outputs; a step need not wire them all",
            )
    for name in spec.outputs:
        if name not in written or name in spec.inputs:
            yield document.error(
                ("outputs", name),
                f"no step writes output `{name}`",
                fix=suggestion(name, wires),
            )


def _no_cycle(spec: EnsembleSpec, document: Document) -> Iterator[InputError]:
    graph = {
        i: {
            j
            for j, other in enumerate(spec.steps)
            if set(other.outputs.values()) & set(step.inputs.values())
        }
        for i, step in enumerate(spec.steps)
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as e:
        cycle = " → ".join(spec.steps[i].model for i in reversed(e.args[1]))
        yield document.error(("steps",), "steps wait for one another in a cycle", found=cycle)


def _batching(
    spec: EnsembleSpec, document: Document, members: Mapping[str, Interface]
) -> Iterator[InputError]:
    for i, step in enumerate(spec.steps):
        if spec.batched and not members[step.model].batched:
            yield document.error(
                ("steps", i, "model"),
                f"the ensemble takes batches, {step.model} does not",
                expected=f"`{BATCH}` first in all shapes of {step.model}, or in none here",
            )
