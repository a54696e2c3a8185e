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


def _sibling(name: str) -> Any:
    """A light module of this folder, by its full name but without `builder` installed."""
    here = Path(__file__).parent
    for package, folder in (("builder", here.parent), ("builder.stages", here)):
        module = types.ModuleType(package)
        module.__path__ = [str(folder)]
        sys.modules.setdefault(package, module)
    return importlib.import_module(f"builder.stages.{name}")


artifact, goldens, runtime = (_sibling(name) for name in ("artifact", "goldens", "runtime"))


def main(model: Path, samples: Path, result: Path) -> None:
    """Loads, runs, and writes what came of it."""
    asked = goldens.read(samples)
    facts: dict[str, Any] = {"onnxruntime": ort.__version__, "numpy": np.__version__}
    answers: list[Any] = []
    phase = "load"
    try:
        start = time.perf_counter()
        session = runtime.session(model)
        facts["load_ms"] = round((time.perf_counter() - start) * 1e3, 1)
        facts["inputs"] = {tensor.name: tensor.type for tensor in session.get_inputs()}
        facts["outputs"] = {tensor.name: tensor.type for tensor in session.get_outputs()}
        for number, golden in enumerate(asked):
            phase = f"sample {number}"
            feed = artifact.feed(golden.inputs, facts["inputs"])
            with runtime.refusals():
                values = session.run(list(facts["outputs"]), feed)
            outputs = {
                name: np.asarray(value)
                for name, value in zip(facts["outputs"], values, strict=True)
            }
            answers.append(goldens.Golden({}, outputs))
    except runtime.RefusedError as error:
        facts["refused"] = {"phase": phase, "message": str(error)}
    goldens.write(result / goldens.FILE, answers)
    (result / "result.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
