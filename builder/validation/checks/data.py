"""Data survives the way in and out bit for bit, in every dtype.

It belongs to the server, not to a version: it is asked once, and its finding stands in
every verdict, for a server that corrupts data has proven nothing about any of them.
NumPy 2 in the environment of Triton 24.10's Python stub is such a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from builder.validation.probes import IDENTITY
from builder.validation.verdict import failed, passed

if TYPE_CHECKING:
    from builder.servers.server import Upload
    from builder.validation.client import Client, Protocol
    from builder.validation.verdict import Finding

    Array = np.ndarray[Any, Any]

WAYS: tuple[tuple[str, Protocol, bool], ...] = (
    ("gRPC", "grpc", True),
    ("HTTP", "http", True),
    ("JSON", "http", False),
)
NAN_32, NAN_64 = 0x7FC12345, 0x7FF8000000ABCDEF
NOT_IN_JSON = {"FP16", "FP64"}
"""Triton takes no FP16 in JSON, and writes FP64 with fewer digits than it has."""


def data(
    client: Client, probe: str = IDENTITY, *, upload: Upload | None = None, served: bool = False
) -> Finding:
    """The identity probe gives back every array as it was sent.

    Args:
        client: asks the server.
        probe: its name there.
        upload: what to send with its load.
        served: it is served already, and stays so.

    Raises:
        RefusedError: the probe does not load, or does not answer.
    """
    if not served:
        client.load(probe, upload)
    count = 0
    for way, protocol, binary in WAYS:
        for name, array in examples(json=not binary):
            output = f"{name}_BACK"
            answer = client.infer(
                probe, {name: array}, protocol=protocol, outputs=[output], binary=binary
            )
            back = answer.outputs.get(output)
            count += 1
            problem = altered(array, back)
            if problem:
                return failed(
                    "data",
                    f"{name} data is altered on its way through the server over {way}: is the "
                    "environment of the Python stub free of NumPy 2?",
                    expected="the bytes that were sent",
                    found=problem,
                )
    if not served:
        client.unload(probe)
    return passed("data", f"{count} arrays of 13 dtypes", "every bit comes back", arrays=count)


def examples(*, json: bool) -> list[tuple[str, Array]]:
    """Arrays that are easily damaged: extremes, NaN payloads, zeros of both signs, none at all.

    Args:
        json: only what JSON can carry exactly.
    """
    found: list[tuple[str, Array]] = [("BOOL", np.array([True, False, False, True]))]
    for bits in (8, 16, 32, 64):
        for kind, name in (("u", "UINT"), ("i", "INT")):
            dtype = np.dtype(f"{kind}{bits // 8}")
            info = np.iinfo(dtype)
            found.append((f"{name}{bits}", np.array([info.min, 0, 1, 77, info.max], dtype)))
    texts = [b"", b"plain", "é漢字 🙂".encode(), b'quote " and \\ and \n', b"x" * 70_000]
    if json:
        found.append(("FP32", np.array([1.1, -0.0, 3.4e38, 1.5, -2.25], np.float32)))
    else:
        texts += [b"a\x00b\x00", b"\xff\xfe"]
        found += _floats()
    found.append(("STRING", _strings(texts)))
    rng = np.random.default_rng(7)
    long = rng.integers(0, 256, 40_000, np.uint8)
    found.append(("UINT8", long))
    if not json:
        found.append(("FP32", rng.standard_normal(10_000).astype(np.float32)))
    skipped = NOT_IN_JSON if json else set()
    empty = {name: array[:0] for name, array in found}
    return found + [(name, array) for name, array in empty.items() if name not in skipped]


def altered(sent: Array, back: Array | None) -> str | None:
    """What is different about what came back; None if nothing is."""
    if back is None:
        return "no output"
    if sent.dtype.kind == "O":
        texts = [t.encode() if isinstance(t, str) else t for t in back.ravel().tolist()]
        if back.shape == sent.shape and texts == sent.tolist():
            return None
        return _first(sent.tolist(), texts)
    if back.dtype != sent.dtype or back.shape != sent.shape:
        return f"{back.dtype} {list(back.shape)} instead of {sent.dtype} {list(sent.shape)}"
    if back.tobytes() == sent.tobytes():
        return None
    width = sent.dtype.itemsize
    cut = [_hex(a.tobytes(), width) for a in (sent, back)]
    return _first(*cut)


def _floats() -> list[tuple[str, Array]]:
    half = np.array([1, np.nan, np.inf, 6e-8, -0.0], np.float16)
    single = np.array([1.1, np.nan, -np.inf, 1e-45, -0.0], np.float32)
    single.view(np.uint32)[1] = NAN_32
    double = np.array([1.1, np.nan, np.inf, 5e-324, -0.0], np.float64)
    double.view(np.uint64)[1] = NAN_64
    return [("FP16", half), ("FP32", single), ("FP64", double)]


def _strings(texts: list[bytes]) -> Array:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def _hex(blob: bytes, width: int) -> list[str]:
    return [blob[i : i + width].hex() for i in range(0, len(blob), width)]


def _first(sent: list[Any], back: list[Any]) -> str:
    if len(sent) != len(back):
        return f"{len(back)} elements instead of {len(sent)}"
    place = next(i for i, (a, b) in enumerate(zip(sent, back, strict=True)) if a != b)
    return f"{str(back[place])[:40]} instead of {str(sent[place])[:40]} (element {place})"
