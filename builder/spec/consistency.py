"""What must hold inside one model's spec beyond the types of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.spec.document import suggestion
from builder.spec.tensor import BATCH
from builder.spec.version import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from builder.errors import InputError
    from builder.spec.document import Document, Place
    from builder.spec.model import ModelSpec
    from builder.spec.tensor import Dim, Tensor


def mistakes(spec: ModelSpec, document: Document, folder: str) -> list[InputError]:
    """Everything in a spec that contradicts something else in it."""
    found: list[InputError] = []
    if spec.name != folder:
        found.append(
            document.error(
                ("name",),
                "a model is named like its folder",
                found=spec.name,
                expected=folder,
                fix=f"write `name: {folder}`, or rename the folder",
            )
        )
    found += dimensions(document, spec.inputs, spec.outputs, spec.dims)
    found += _versions(spec, document)
    found += _batches(spec, document)
    found += _outputs(spec, document)
    found += _format(spec, document)
    found += _captures(spec, document)
    return found


def dimensions(
    document: Document,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    dims: Mapping[str, Dim],
) -> Iterator[InputError]:
    """Every named dimension is declared once in `dims`, and every one there is used."""
    used = set()
    for side, tensors in (("inputs", inputs), ("outputs", outputs)):
        for name, tensor in tensors.items():
            for axis, size in enumerate(tensor.shape):
                if not isinstance(size, str):
                    continue
                used.add(size)
                if size not in dims:
                    yield document.error(
                        (side, name, "shape", axis),
                        f"dimension `{size}` of `{name}` is not declared",
                        found=", ".join(dims) or "no dims",
                        fix=suggestion(size, list(dims)) or f"add `{size}: {{max: ...}}` to dims",
                    )
    for unused in set(dims) - used:
        yield document.error(
            ("dims", unused),
            f"dimension `{unused}` is in no shape",
            fix=suggestion(unused, sorted(used)) or "remove it from dims",
        )


def _versions(spec: ModelSpec, document: Document) -> Iterator[InputError]:
    seen: dict[int, str] = {}
    for version in spec.versions:
        value = number(version)
        if value in seen:
            yield document.error(
                ("versions", version),
                f"version {version} is declared twice",
                found=f"{seen[value]} and {version} are both version number {value}",
                fix="keep one of them",
            )
        seen.setdefault(value, version)
    if isinstance(spec.serve, tuple):
        for place, version in enumerate(spec.serve):
            if version not in spec.versions:
                yield document.error(
                    ("serve", place),
                    f"version {version} is served but not declared",
                    expected=", ".join(spec.versions),
                )
        if not spec.serve:
            yield document.error(("serve",), "no version is served", expected="at least one")


def _batches(spec: ModelSpec, document: Document) -> Iterator[InputError]:
    if spec.timeout is not None and not (spec.batched and spec.batching):
        yield document.error(
            ("timeout",),
            "a queue timeout, but requests of this model wait in no queue of a batcher",
            expected=f"`{BATCH}` first in all shapes, and `batching` not false",
            fix="remove `timeout`",
        )
    sizes: list[tuple[Place, int]] = [(("warmup", i), b) for i, b in enumerate(spec.warmup)]
    if spec.batching:
        sizes += [(("batching", "preferred", i), b) for i, b in enumerate(spec.batching.preferred)]
    if spec.batched:
        limit, dim = spec.max_batch, spec.dims.get(BATCH)
        low = dim.min if dim else 1
        for place, size in sizes:
            if not low <= size <= limit:
                yield document.error(
                    place,
                    f"batch of {size} is outside dims.{BATCH}",
                    found=size,
                    expected=f"{low} to {limit}",
                )
        if low > 1:
            yield document.error(
                ("dims", BATCH, "min"),
                "Triton may always send a batch of one",
                found=low,
                expected="1",
            )
        return
    for place, size in sizes:
        if size != 1:
            yield document.error(
                place,
                "a batch size, but the model takes no batch",
                found=size,
                expected=f"`{BATCH}` first in every input's and output's shape, or no batch sizes",
            )


def _outputs(spec: ModelSpec, document: Document) -> Iterator[InputError]:
    places: list[tuple[Place, str]] = [
        (("tolerance", "outputs", name), name) for name in spec.tolerance.outputs
    ]
    for version, own in spec.versions.items():
        places += [
            (("versions", version, "tolerance", "outputs", name), name)
            for name in own.tolerance.outputs
        ]
    if spec.accuracy:
        places.append((("accuracy", "output"), spec.accuracy.output))
    yield from _known(document, places, spec.outputs)
    for name in set(spec.inputs) & set(spec.outputs):
        yield document.error(
            ("outputs", name),
            f"`{name}` is both an input and an output",
            fix="give them two names: ONNX has one name space",
        )


def _known(
    document: Document, places: Iterable[tuple[Place, str]], outputs: Mapping[str, Tensor]
) -> Iterator[InputError]:
    for place, name in places:
        if name not in outputs:
            yield document.error(
                place,
                f"`{name}` is no output",
                expected=", ".join(outputs),
                fix=suggestion(name, list(outputs)),
            )


def _format(spec: ModelSpec, document: Document) -> Iterator[InputError]:
    if spec.format == "python":
        if spec.reference is None:
            yield document.error(
                ("format",),
                "a python model has no torch module to compare with",
                expected="`reference: source.py:reference`, a function from one sample's inputs "
                "to its right outputs",
            )
        return
    for name in ("reference", "files", "packages"):
        if getattr(spec, name):
            yield document.error(
                (name,), f"`{name}` belongs to `format: python`", fix=f"remove `{name}`"
            )
    if ":" not in spec.source:
        yield document.error(
            ("source",),
            "source names no function",
            found=spec.source,
            expected=f"{spec.source}:load",
        )
    for side, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        for name, tensor in tensors.items():
            if tensor.dtype == "string":
                yield document.error(
                    (side, name, "dtype"),
                    "torch has no strings",
                    found=tensor.dtype,
                    fix="make it a `format: python` model",
                )


def _captures(spec: ModelSpec, document: Document) -> Iterator[InputError]:
    """CUDA graphs hold at one shape each: of every one all sizes are known, and allowed."""
    asked, place = spec.gpu.cuda_graphs, ("gpu", "cuda_graphs")
    if spec.format == "python" and (asked or spec.gpu.accelerator):
        yield document.error(
            ("gpu",), "a python model is Python's to run on a GPU", fix="remove `gpu`"
        )
        return
    dims = {name: spec.dims[name] for name in spec.varying}
    dims |= {BATCH: spec.dims[BATCH]} if spec.batched and BATCH in spec.dims else {}
    example = ", ".join(f"{name}: {dim.max}" for name, dim in dims.items())
    if asked is True and spec.varying:
        varying = ", ".join(f"`{name}`" for name in spec.varying)
        yield document.error(
            place,
            "a CUDA graph holds at one shape, and nothing says at which",
            found=f"{varying} varies",
            expected=f"[{{{example}}}]",
            fix="name every shape to capture, those that most requests have; or remove it",
        )
    if asked == () and isinstance(asked, tuple):
        yield document.error(place, "no shape to capture", fix="remove `cuda_graphs`")
    for at, sizes in enumerate(asked if isinstance(asked, tuple) else ()):
        for name in sorted(dims.keys() - sizes.keys()):
            yield document.error(
                (*place, at),
                f"a CUDA graph holds at one shape, and `{name}` has no size here",
                found=", ".join(sizes) or "no sizes",
                expected=f"{{{example}}}",
            )
        for name, size in sizes.items():
            if name not in dims:
                yield document.error(
                    (*place, at, name),
                    f"`{name}` is no dimension of the inputs that varies",
                    expected=", ".join(dims) or "none does: write `cuda_graphs: true`",
                    fix=suggestion(name, list(dims)),
                )
            elif not max(dims[name].min, 1) <= size <= dims[name].max:
                yield document.error(
                    (*place, at, name),
                    f"a size of `{name}` that the spec does not allow",
                    found=size,
                    expected=f"{max(dims[name].min, 1)} to {dims[name].max}",
                )
