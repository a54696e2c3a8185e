"""Where two files that should be one differ, in words: for arrays, graphs, texts and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from builder.errors import BuilderError
from builder.stages.job import GOLDENS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHUNK = 1 << 20
TEXT = 1 << 24
"""Bytes up to which a file is looked at as text."""


def where(name: str, first: Path, second: Path, graph: Path | None = None) -> str:
    """The first place where two files differ.

    Args:
        name: what the file is called; its ending says what it is.
        first: the file of the first build.
        second: the file of the second.
        graph: the ONNX graph whose weights these are, where that is known.
    """
    kind = name.rpartition("/")[2]
    place = None
    if kind.endswith((".npy", ".npz")):
        place = _arrays(name, first, second)
    elif kind.endswith(".onnx"):
        place = _onnx(first, second)
    elif not kind.endswith(".data"):
        place = _text(first, second)
    return place or _bytes(first, second, graph)


def _said(place: str, first: object, second: object) -> str:
    return f"{place}: {_short(first)} in the first build, {_short(second)} in the second"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - two in a line


# --- arrays ------------------------------------------------------------------------------


def _arrays(name: str, first: Path, second: Path) -> str | None:
    read = _goldens if name == GOLDENS else _loaded
    try:
        return _several("array", read(first), read(second))
    except (BuilderError, OSError, ValueError, EOFError, BadZipFile):  # a model's own file
        return None


def _goldens(path: Path) -> dict[str, Any]:
    from builder.stages import goldens

    return {
        f"sample {number}, {side} `{name}`": array
        for number, golden in enumerate(goldens.read(path))
        for side, arrays in (("input", golden.inputs), ("output", golden.outputs))
        for name, array in arrays.items()
    }


def _loaded(path: Path) -> dict[str, Any]:
    import numpy as np

    with path.open("rb") as file:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"array": found}
        return {f"array `{name}`": found[name] for name in found.files}


def _several(what: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    if list(first) != list(second):
        return _said(f"{what}s", *_unlike(first, second))
    for name, array in first.items():
        if place := _array(name, array, second[name]):
            return place
    return None


def _unlike(first: Iterable[str], second: Iterable[str]) -> tuple[str, str]:
    """The first names that are not alike."""
    a, b = [*first, "none"], [*second, "none"]
    return next(((x, y) for x, y in zip(a, b, strict=False) if x != y), (a[-1], b[-1]))


def _array(name: str, first: Any, second: Any) -> str | None:
    """The first element whose bytes differ: unlike `==`, that tells NaN and -0.0 apart."""
    import numpy as np

    if (first.shape, first.dtype) != (second.shape, second.dtype):
        kinds = (f"{a.dtype} {list(a.shape)}" for a in (first, second))
        return _said(name, *kinds)
    if first.dtype.kind == "O":
        unequal = np.asarray(first != second).ravel()
    else:
        a, b = (np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in (first, second))
        unequal = (a != b).reshape(-1, first.dtype.itemsize or 1).any(axis=1)
    if not unequal.any():
        return None
    index = np.unravel_index(int(unequal.argmax()), first.shape)
    count = f", {int(unequal.sum())} of {first.size} elements differ"
    return _said(f"{name} {[int(i) for i in index]}", first[index], second[index]) + count


# --- graphs ------------------------------------------------------------------------------


def _onnx(first: Path, second: Path) -> str | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        a, b = (onnx.load(str(p), load_external_data=False) for p in (first, second))
    except DecodeError:
        return None
    return _weights(a, b) or _nodes(a, b) or _field("graph", a.graph, b.graph) or _field("", a, b)


def _weights(first: Any, second: Any) -> str | None:
    from onnx import numpy_helper

    a, b = ({t.name: t for t in model.graph.initializer} for model in (first, second))
    if list(a) != list(b):
        return _said("initializers", *_unlike(a, b))
    for name, tensor in a.items():
        label = f"initializer `{name}`"
        if tensor == b[name]:
            continue
        if tensor.external_data or b[name].external_data:
            return f"{label}: it lies elsewhere in its file"
        arrays = (numpy_helper.to_array(t) for t in (tensor, b[name]))
        return _array(label, *arrays) or label
    return None


def _nodes(first: Any, second: Any) -> str | None:
    for number, (a, b) in enumerate(zip(first.graph.node, second.graph.node, strict=False)):
        if a != b:
            return _field(f"node {number} `{a.name}` ({a.op_type})", a, b)
    counts = [len(model.graph.node) for model in (first, second)]
    return _said("nodes", *counts) if counts[0] != counts[1] else None


def _field(place: str, first: Any, second: Any) -> str | None:
    """The first field of two messages that differs."""
    for field in first.DESCRIPTOR.fields:
        a, b = (getattr(message, field.name) for message in (first, second))
        if a != b:
            name = f"{place}, {field.name}" if place else field.name
            return _said(name, *(" ".join(str(value).split()) for value in (a, b)))
    return None


# --- texts and bytes ---------------------------------------------------------------------


def _text(first: Path, second: Path) -> str | None:
    if max(path.stat().st_size for path in (first, second)) > TEXT:
        return None
    try:
        a, b = (path.read_bytes().decode().split("\n") for path in (first, second))
    except UnicodeDecodeError:
        return None
    if any("\0" in line for line in a):
        return None
    for number, (x, y) in enumerate(zip(a, b, strict=False), 1):
        if x != y:
            return _said(f"line {number}", repr(x), repr(y))
    return _said("lines", len(a), len(b))


def _bytes(first: Path, second: Path, graph: Path | None) -> str:
    offset = 0
    with first.open("rb") as a, second.open("rb") as b:
        while (x := a.read(CHUNK)) == (y := b.read(CHUNK)) and x:
            offset += len(x)
    same = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), None)
    offset += min(len(x), len(y)) if same is None else same
    tensor = _stored(graph, offset) if graph else None
    return f"initializer `{tensor}`, byte {offset}" if tensor else f"byte {offset}"


def _stored(graph: Path, offset: int) -> str | None:
    """The initializer whose bytes lie there in the file of weights."""
    import onnx

    for tensor in onnx.load(str(graph), load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        start = int(place.get("offset", 0))
        if place and start <= offset < start + int(place.get("length", 0)):
            return str(tensor.name)
    return None
