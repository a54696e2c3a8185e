"""Runs a model in the interpreter that holds the target release's ONNX Runtime.

A plain script for that interpreter, which has NumPy and ONNX Runtime and no `builder`:

    python -I prove_runner.py MODEL GOLDENS RESULT

It loads MODEL, answers every sample of GOLDENS into RESULT/goldens.npy, and says in
RESULT/result.json what it is and how it went. A refusal by ONNX Runtime is a result; any
other end of the process is not.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


def main(model: Path, samples: Path, result: Path) -> None:
    """Loads, runs, and writes what came of it."""
    goldens = _sibling("goldens")
    asked = goldens.read(samples)
    facts: dict[str, Any] = {"onnxruntime": ort.__version__, "numpy": np.__version__}
    answers: list[Any] = []
    phase = "load"
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4  # what matters comes as an exception
        start = time.perf_counter()
        session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        facts["load_ms"] = round((time.perf_counter() - start) * 1e3, 1)
        facts["inputs"] = {tensor.name: tensor.type for tensor in session.get_inputs()}
        facts["outputs"] = {tensor.name: tensor.type for tensor in session.get_outputs()}
        for number, golden in enumerate(asked):
            phase = f"sample {number}"
            feed = {
                name: _text(golden.inputs[name])
                for name in facts["inputs"]
                if name in golden.inputs
            }
            values = session.run(list(facts["outputs"]), feed)
            outputs = {
                name: np.asarray(value)
                for name, value in zip(facts["outputs"], values, strict=True)
            }
            answers.append(goldens.Golden({}, outputs))
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions have no common root
        facts["refused"] = {"phase": phase, "message": f"{type(error).__name__}: {error}"}
    goldens.write(result / goldens.FILE, answers)
    (result / "result.json").write_text(json.dumps(facts))


def _sibling(name: str) -> Any:
    """A light module of this folder, by its full name but without `builder` installed."""
    here = Path(__file__).parent
    for package, folder in (("builder", here.parent), ("builder.stages", here)):
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules[package] = module
    return importlib.import_module(f"builder.stages.{name}")


def _text(array: Any) -> Any:
    if array.dtype.kind != "O":
        return array
    texts = np.empty(array.size, dtype=object)
    texts[:] = [text.decode() for text in array.ravel().tolist()]
    return texts.reshape(array.shape)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
