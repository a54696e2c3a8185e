"""Ensembles checked against their members: every wire's dtype and shape, and no cycle.

Triton would refuse such an ensemble when it loads, hours later and with less to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.spec.document import suggestion
from builder.spec.tensor import BATCH, Dim, Tensor, is_batched
from builder.spec.version import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.spec.document import Document, Place
    from builder.spec.ensemble import EnsembleSpec, Step
    from builder.spec.model import ModelSpec


@dataclass(frozen=True)
class Interface:
    """What a member shows to an ensemble.

    `together` are outputs that must be asked for with all the others: wires of an ensemble that
    its steps read as well. Triton 24.10 answers a request for some of the outputs only with
    "unexpected deadlock" there (measured).
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    dims: Mapping[str, Dim]
    versions: tuple[str, ...]
    together: tuple[str, ...] = ()

    @property
    def batched(self) -> bool:
        """Whether Triton batches it."""
        return is_batched(self.inputs, self.outputs)


Ranges = tuple[Dim, ...]
"""The sizes that each axis of a wire may have; a fixed size is a range of one."""


def of_model(spec: ModelSpec) -> Interface:
    """A model's interface."""
    return Interface(spec.inputs, spec.outputs, spec.dims, spec.served)


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
    dims = {**_implied(spec, members), **spec.dims}
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
    found = list(_types(spec, document, members, dims))
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


def _implied(spec: EnsembleSpec, members: Mapping[str, Interface]) -> dict[str, Dim]:
    """Dimensions of the ensemble's inputs, as narrow as every member that reads them."""
    dims: dict[str, Dim] = {}
    for name, tensor in spec.inputs.items():
        for member, theirs in _readers(spec, members, name):
            for size, other in zip(tensor.shape, theirs.shape, strict=False):
                if isinstance(size, str):
                    limit = _range(other, member.dims)
                    known = dims.get(size, limit)
                    low = max(known.min, limit.min)
                    dims[size] = Dim(min=low, max=max(low, min(known.max, limit.max)))
    if spec.batched and BATCH in dims:
        limits = [members[s.model].dims[BATCH].max for s in spec.steps]
        dims[BATCH] = Dim(min=1, max=min(limits))
    return dims


def _readers(
    spec: EnsembleSpec, members: Mapping[str, Interface], wire: str
) -> Iterator[tuple[Interface, Tensor]]:
    for step in spec.steps:
        for port, source in step.inputs.items():
            if source == wire:
                member = members[step.model]
                yield member, member.inputs[port]


def _types(
    spec: EnsembleSpec,
    document: Document,
    members: Mapping[str, Interface],
    dims: Mapping[str, Dim],
) -> Iterator[InputError]:
    """What flows on each wire against what each end expects."""
    wires: dict[str, tuple[Tensor, Ranges, str]] = {
        name: (tensor, tuple(_range(s, dims) for s in tensor.shape), f"input {name}")
        for name, tensor in spec.inputs.items()
    }
    for step in spec.steps:
        member = members[step.model]
        for port, wire in step.outputs.items():
            tensor = member.outputs[port]
            ranges = tuple(_range(s, member.dims) for s in tensor.shape)
            if spec.batched:
                ranges = (dims.get(BATCH, ranges[0]), *ranges[1:])
            wires[wire] = (tensor, ranges, f"{step.model}.{port}")
    for i, step in enumerate(spec.steps):
        member = members[step.model]
        for port, wire in step.inputs.items():
            tensor = member.inputs[port]
            yield from _fits(
                document,
                ("steps", i, "inputs", port),
                wires[wire],
                tensor,
                tuple(_range(s, member.dims) for s in tensor.shape),
                f"{step.model}.{port}",
            )
    for name, tensor in spec.outputs.items():
        if name not in wires:
            continue
        given, ranges, _ = wires[name]
        wanted = tuple(
            _range(s, dims) if not isinstance(s, str) or s in dims else r
            for s, r in zip(tensor.shape, ranges, strict=False)
        )
        if len(tensor.shape) == len(given.shape):
            wanted = tuple(
                r if isinstance(s, str) else w
                for s, r, w in zip(tensor.shape, ranges, wanted, strict=True)
            )
        yield from _fits(document, ("outputs", name), wires[name], tensor, wanted, f"output {name}")


def _fits(  # noqa: PLR0913 - both ends of a wire
    document: Document,
    place: Place,
    source: tuple[Tensor, Ranges, str],
    tensor: Tensor,
    ranges: Ranges,
    label: str,
) -> Iterator[InputError]:
    given, sizes, origin = source
    if given.dtype != tensor.dtype:
        yield document.error(
            place,
            f"dtypes differ along a wire: {origin} → {label}",
            found=given.dtype,
            expected=tensor.dtype,
        )
    shapes = {"found": _show(given), "expected": _show(tensor)}
    if len(given.shape) != len(tensor.shape):
        yield document.error(place, f"ranks differ along a wire: {origin} → {label}", **shapes)
        return
    for axis, (have, want) in enumerate(zip(sizes, ranges, strict=True)):
        if have.min < want.min or have.max > want.max:
            yield document.error(
                place,
                f"shapes differ along a wire: {origin} → {label}, axis {axis}",
                found=f"{_show(given)}, axis {axis} from {have.min} to {have.max}",
                expected=f"{_show(tensor)}, axis {axis} from {want.min} to {want.max}",
            )
            return


def _range(size: int | str, dims: Mapping[str, Dim]) -> Dim:
    if isinstance(size, str):
        return dims[size]
    return Dim.model_construct(min=size, max=size)


def _show(tensor: Tensor) -> str:
    return f"{tensor.dtype} [{', '.join(str(s) for s in tensor.shape)}]"
