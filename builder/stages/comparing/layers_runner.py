"""Runs two graphs beside each other in the interpreter that holds the release's ONNX Runtime.

A plain script for that interpreter, which has NumPy and ONNX Runtime and no `builder`:

    python -I layers_runner.py QUESTION RESULT

QUESTION is JSON: either `{"types": model}`, whose outputs' types are then told, or the files of
three graphs (`reference`, `made`, `own`), the `samples`, what to compare (`values`, by bounds) and
what `own` starts from (`sources`). One sample is held at a time, and figures alone leave.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def _sibling(name: str) -> Any:
    """A light module of the stages, by its full name but without `builder` installed."""
    here = Path(__file__).parents[1]
    for package, folder in (("builder", here.parent), ("builder.stages", here)):
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules.setdefault(package, module)
    return importlib.import_module(f"builder.stages.{name}")


agreement, artifact, goldens, runtime = (
    _sibling(name) for name in ("agreement", "artifact", "goldens", "runtime")
)

OWN = "::own"
INFINITE = 1e30
"""Magnitude from which a value stands for infinity, as in attention masks."""

LARGEST = 65504.0
"""Fp16's, which is what becomes of those there."""


def main(question: Path, result: Path) -> None:
    """Answers."""
    asked = json.loads(question.read_text())
    try:
        told = _types(asked["types"]) if "types" in asked else _compared(asked)
    except runtime.RefusedError as error:
        told = {"refused": str(error)}
    result.write_text(json.dumps(told))


def _types(model: str) -> dict[str, Any]:
    return {"types": {tensor.name: tensor.type for tensor in runtime.session(model).get_outputs()}}


def _compared(asked: dict[str, Any]) -> dict[str, Any]:
    reference, made, own = (runtime.session(asked[name]) for name in ("reference", "made", "own"))
    taken = {tensor.name: tensor.type for tensor in own.get_inputs()}
    found: dict[str, dict[str, Any]] = {name: {"bytes": 0} for name in asked["values"]}
    for number, golden in enumerate(goldens.read(Path(asked["samples"]))):
        rows = max((array.shape[0] for array in golden.inputs.values() if array.ndim), default=1)
        right = _answers(reference, golden.inputs)
        rough = _answers(made, golden.inputs)
        given = {name: _as(right.get(name, golden.inputs.get(name)), taken[name]) for name in taken}
        alone = _answers(own, given)
        for name, bounds in asked["values"].items():
            limits = types.SimpleNamespace(**bounds)
            truth = golden.outputs.get(name, right[name])
            place = found[name]
            place["bytes"] = max(place["bytes"], right[name].nbytes)
            for kind, exact, answer in (
                ("whole", truth, rough[name]),
                ("own", right[name], alone[f"{name}{OWN}"]),
            ):
                if name in asked["rectified"]:
                    answer = np.maximum(answer, 0)  # noqa: PLW2901
                batched = asked["batched"] and exact.shape[:1] == (rows,)
                figures = _figures(exact, answer, limits, batched)
                _worsen(place, kind, {**figures, "sample": number})
    return {"onnxruntime": ort.__version__, "values": found}


def _figures(exact: Any, answer: Any, bounds: Any, batched: bool) -> Any:  # noqa: FBT001
    exact, answer = _comparable(exact, answer)
    one = agreement.compare(exact, answer, bounds, batched=batched)
    gap = 0.0
    if exact.shape == answer.shape and exact.dtype.kind == "f" and exact.size:
        gaps = np.abs(exact.astype(np.float64) - answer.astype(np.float64))
        gap = float(np.nan_to_num(gaps, posinf=1e300).max())
    relative = min(one.relative, 1e9)
    return {
        "absolute": gap,
        "relative": relative,
        "cosine": one.cosine,
        "mismatch": one.mismatch,
        "used": min(agreement.share(one, bounds, single=exact.shape[-1:] == (1,)), 1e9),
    }


def _comparable(exact: Any, answer: Any) -> tuple[Any, Any]:
    """Both in one type, and what stands for infinity in both left out."""
    if exact.dtype.kind != "f" or answer.dtype.kind != "f":
        return exact, answer
    answer = answer.astype(exact.dtype)
    if exact.shape != answer.shape:
        return exact, answer
    with np.errstate(invalid="ignore"):
        both = (np.abs(exact) >= INFINITE) & (np.abs(answer) >= LARGEST - 1)
        both &= np.sign(exact) == np.sign(answer)
    return (np.where(both, 0, exact), np.where(both, 0, answer)) if both.any() else (exact, answer)


def _worsen(place: dict[str, Any], kind: str, figures: dict[str, Any]) -> None:
    known = place.setdefault(kind, figures)
    if figures["used"] > known["used"]:
        known["sample"], known["used"] = figures["sample"], figures["used"]
    known["cosine"] = min(known["cosine"], figures["cosine"])
    for name in ("absolute", "relative", "mismatch"):
        known[name] = max(known[name], figures[name])


def _answers(session: Any, inputs: Any) -> dict[str, Any]:
    names = [tensor.name for tensor in session.get_outputs()]
    feed = artifact.feed(inputs, [tensor.name for tensor in session.get_inputs()])
    with runtime.refusals():
        values = session.run(names, feed)
    return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}


def _as(array: Any, kind: str) -> Any:
    """A value as the rewritten graph has it there."""
    wanted = {"tensor(float16)": np.float16, "tensor(float)": np.float32}.get(kind)
    if wanted is None or array.dtype.kind != "f":
        return array
    if wanted is np.float16:
        array = np.clip(array, -LARGEST, LARGEST)
    return array.astype(wanted)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:3]))
