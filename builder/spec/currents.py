"""What flows along an ensemble's wires: dtypes, ranks, and the sizes that each axis may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.spec.tensor import BATCH, Dim, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.errors import InputError
    from builder.spec.document import Document, Place
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.interface import Interface

Ranges = tuple[Dim, ...]
"""The sizes that each axis of a wire may have; a fixed size is a range of one."""


def implied(spec: EnsembleSpec, members: Mapping[str, Interface]) -> dict[str, Dim]:
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


def mismatches(
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
