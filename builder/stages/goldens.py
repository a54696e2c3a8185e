"""Goldens: real example inputs with the reference outputs, and their file.

The file is arrays in NumPy's `.npy` format, one after the other, as `np.save` writes them to an
open file (numpy.org, "numpy.lib.format"). The first says in JSON what the others are. Nothing
else is in it, so that its bytes follow from the arrays: an archive would add headers that
Pythons of one minor version write differently. Strings are kept as their lengths and their
UTF-8 bytes, since NumPy's own string types drop trailing zeros.
"""

from __future__ import annotations

import json
import math
import os
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as numpy_format

from builder.errors import WorkFailedError
from builder.stages.job import GOLDENS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

FILE = GOLDENS

_npy: Any = numpy_format
"""NumPy gives it no types."""

_VERSION = (1, 0)
"""Of the `.npy` format: the first, which holds whatever a sample may be."""

_NUMBERS = "biufc"
"""Kinds of dtypes that an array in the file may have: no objects, no records."""

_STRANGE = (ValueError, TypeError, KeyError, SyntaxError, RecursionError, tokenize.TokenError)
"""What reading something else as our file may raise."""


@dataclass(frozen=True)
class Golden:
    """One sample: arrays by input name, and by output name what the reference answers.

    Shapes are the spec's, the batch dimension included. Strings are object arrays of bytes.
    """

    inputs: Arrays
    outputs: Arrays


def write(path: Path, goldens: Iterable[Golden]) -> None:
    """Writes goldens to one file; equal goldens give equal bytes."""
    arrays: list[Array] = []
    index: list[list[tuple[str, str, str]]] = []
    for golden in goldens:
        row: list[tuple[str, str, str]] = []
        for side, tensors in (("inputs", golden.inputs), ("outputs", golden.outputs)):
            for name, array in tensors.items():
                kind, parts = _parts(array)
                row.append((side, name, kind))
                arrays += parts
        index.append(row)
    text = json.dumps(index, ensure_ascii=False).encode()
    with path.open("wb") as file:
        for array in (np.frombuffer(text, np.uint8), *arrays):
            _npy.write_array(file, array, _VERSION, allow_pickle=False)


def read(path: Path) -> list[Golden]:
    """Reads what `write` wrote.

    Raises:
        WorkFailedError: the file is another one, or not whole.
    """
    with path.open("rb") as file:
        try:
            return _goldens(file)
        except _STRANGE as e:
            raise WorkFailedError(
                "not a file of goldens",
                where=str(path),
                found=str(e) or type(e).__name__,
                expected="arrays of the .npy format, the first of them an index of the others",
                fix="build again; if it is the store's, the disk may be failing",
            ) from e


def _goldens(file: BinaryIO) -> list[Golden]:
    goldens = []
    for row in json.loads(_next(file, "u1").tobytes()):
        sides: dict[str, dict[str, Array]] = {"inputs": {}, "outputs": {}}
        for side, name, kind in row:
            if not isinstance(name, str) or kind not in ("array", "string"):
                raise ValueError(f"an index that speaks of a {kind!r} named {name!r}")
            sides[side][name] = _next(file) if kind == "array" else _texts(file)
        goldens.append(Golden(sides["inputs"], sides["outputs"]))
    if file.read(1):
        raise ValueError("more after the last array")
    return goldens


def _parts(array: Array) -> tuple[str, list[Array]]:
    """The kind of an array, and the arrays that it is kept as."""
    if array.dtype.kind not in "OSU":
        return "array", [np.ascontiguousarray(array).reshape(array.shape)]
    texts = [t.encode() if isinstance(t, str) else bytes(t) for t in array.ravel().tolist()]
    lengths = np.array([len(t) for t in texts], np.int64).reshape(array.shape)
    return "string", [lengths, np.frombuffer(b"".join(texts), np.uint8)]


def _texts(file: BinaryIO) -> Array:
    lengths, blob = _next(file, "i8"), _next(file, "u1").tobytes()
    if (lengths < 0).any() or lengths.sum() != len(blob):
        raise ValueError("strings whose lengths are not theirs")
    texts, start = np.empty(lengths.size, dtype=object), 0
    for place, length in enumerate(lengths.ravel().tolist()):
        texts[place] = blob[start : start + length]
        start += length
    return texts.reshape(lengths.shape)


def _next(file: BinaryIO, dtype: str | None = None) -> Array:
    """The next array, if the file has all of it.

    Args:
        file: where to read.
        dtype: what it must be made of (`u1`); numbers of any kind if None.
    """
    if _npy.read_magic(file) != _VERSION:
        raise ValueError("another version of the .npy format")
    shape, fortran, found = _npy.read_array_header_1_0(file)
    if fortran or found.kind not in _NUMBERS or dtype not in (None, found.str[1:]):
        raise ValueError(f"an array of {found}{', column by column' if fortran else ''}")
    count = math.prod(shape)
    left = os.fstat(file.fileno()).st_size - file.tell()
    if min(shape, default=0) < 0 or count * found.itemsize > left:
        raise ValueError(f"an array of {count * found.itemsize} bytes where {left} are left")
    return np.fromfile(file, found, count).reshape(shape)
