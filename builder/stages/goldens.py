"""Goldens: real example inputs with the reference outputs, and their file.

The file is a plain `.npz` without pickles. Strings are kept as their UTF-8 bytes and
lengths, since NumPy's own string types drop trailing zeros.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.stages.job import GOLDENS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Arrays = Mapping[str, np.ndarray[Any, Any]]

FILE = GOLDENS


@dataclass(frozen=True)
class Golden:
    """One sample: arrays by input name, and by output name what the reference answers.

    Shapes are the spec's, the batch dimension included. Strings are object arrays of bytes.
    """

    inputs: Arrays
    outputs: Arrays


def write(path: Path, goldens: Iterable[Golden]) -> None:
    """Writes goldens to one file; equal goldens give equal bytes."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    index: list[list[tuple[str, str, str]]] = []
    for number, golden in enumerate(goldens):
        row: list[tuple[str, str, str]] = []
        for side, tensors in (("inputs", golden.inputs), ("outputs", golden.outputs)):
            for name, array in tensors.items():
                key = f"{number:06d}.{side}.{len(row):03d}"
                kind = _put(arrays, key, array)
                row.append((side, name, f"{kind}:{key}"))
        index.append(row)
    text = json.dumps(index, ensure_ascii=False).encode()
    arrays["index"] = np.frombuffer(text, dtype=np.uint8)
    np.savez(path, **arrays)


def read(path: Path) -> list[Golden]:
    """Reads what `write` wrote."""
    with np.load(path, allow_pickle=False) as file:
        goldens = []
        for row in json.loads(file["index"].tobytes()):
            sides: dict[str, dict[str, np.ndarray[Any, Any]]] = {"inputs": {}, "outputs": {}}
            for side, name, place in row:
                kind, _, key = place.partition(":")
                sides[side][name] = _get(file, kind, key)
            goldens.append(Golden(sides["inputs"], sides["outputs"]))
    return goldens


def _put(arrays: dict[str, Any], key: str, array: np.ndarray[Any, Any]) -> str:
    if array.dtype.kind in "OSU":
        texts = [t.encode() if isinstance(t, str) else bytes(t) for t in array.ravel().tolist()]
        arrays[f"{key}.bytes"] = np.frombuffer(b"".join(texts), dtype=np.uint8)
        arrays[f"{key}.lengths"] = np.array([len(t) for t in texts], np.int64).reshape(array.shape)
        return "string"
    arrays[key] = np.ascontiguousarray(array).reshape(array.shape)
    return "array"


def _get(file: Any, kind: str, key: str) -> np.ndarray[Any, Any]:
    if kind == "array":
        return np.asarray(file[key])
    blob, lengths = file[f"{key}.bytes"].tobytes(), file[f"{key}.lengths"]
    texts, start = np.empty(lengths.size, dtype=object), 0
    for place, length in enumerate(lengths.ravel().tolist()):
        texts[place] = blob[start : start + length]
        start += length
    return texts.reshape(lengths.shape)
