"""The stage that runs an artifact in the release's own ONNX Runtime, before a server sees it.

An opset, an IR version or an operator that the release does not know would fail only in
production; here it fails at build time. Every sample is answered, alone and in a batch,
and held against its golden. Nothing is written: the stage's success is its output, and
its figures, that vary between machines, are facts for the report.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.errors import MissingError, WorkFailedError
from builder.spec.tensor import BATCH, Tensor
from builder.stages import artifact, goldens, runtime
from builder.stages.agreement import words
from builder.stages.goldens import Golden
from builder.stages.job import LAYERS
from builder.stages.score import Standard, score

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from builder.stages.job import Job

RUNNER = Path(__file__).with_name("prove_runner.py")
LARGEST_BATCH = 8
TYPES = {
    "float32": "float",
    "float64": "double",
}
"""Where ONNX Runtime's name of an element type is not the spec's."""


def run(job: Job) -> dict[str, object]:
    """Proves `onnx` against `reference` in `job.runtime`.

    Returns the facts: `agreement` by output, `samples`, `batches`, `load_ms`.

    Raises:
        MissingError: there is no runtime, or it holds another ONNX Runtime.
        WorkFailedError: the model does not load, run or agree there.
    """
    standard = Standard.of(job.params, job.params["precision"])
    samples = goldens.read(job.inputs["reference"] / goldens.FILE)
    batches = list(_batches(samples, job.params)) if standard.batched else []
    asked = [*samples, *batches]
    facts, answers = _run(job, asked)
    _check_interface(job, facts)
    found = score(asked, [answer.outputs for answer in answers], standard)
    if found.misses:
        miss = found.misses[0]
        sample = f"sample {miss.sample}"
        if miss.sample >= len(samples):
            sample = "a batch of several samples"
        raise WorkFailedError(
            f"output {miss.output} disagrees with its golden in ONNX Runtime "
            f"{facts['onnxruntime']}, {sample}",
            where=job.where,
            found=f"{miss.reason} ({len(found.misses)} of {len(asked)} answers miss); "
            f"{found.summary()}",
            expected=words(standard.bounds[miss.output]),
            fix=_tolerance_fix(job.params["precision"]),
        )
    return {
        "agreement": found.figures,
        "samples": len(samples),
        "batches": len(batches),
        "load_ms": facts["load_ms"],
        "onnxruntime": facts["onnxruntime"],
    }


def _run(job: Job, asked: Sequence[Golden]) -> tuple[dict[str, Any], list[Golden]]:
    model = (job.inputs["onnx"] / artifact.FILE).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = folder / "questions.npy"
        goldens.write(questions, asked)
        facts = runtime.ask(
            job,
            RUNNER,
            model,
            questions,
            folder,
            result=folder / "result.json",
            about=f"the model and {len(asked)} samples",
        )
        answers = goldens.read(folder / goldens.FILE)
    if facts["onnxruntime"] != job.params["onnxruntime"]:
        raise MissingError(
            "the runtime holds another ONNX Runtime than the release ships",
            where=job.where,
            found=facts["onnxruntime"],
            expected=job.params["onnxruntime"],
            fix=f"delete the runtime that {job.runtime} belongs to and build again",
        )
    if refused := facts.get("refused"):
        raise _refusal(job, refused)
    return facts, answers


def _refusal(job: Job, refused: dict[str, str]) -> WorkFailedError:
    release, message = job.params["onnxruntime"], refused["message"]
    if refused["phase"] == "load":
        lower = message.lower()
        too_new = any(word in lower for word in ("opset", "ir version", "ir_version"))
        return WorkFailedError(
            f"ONNX Runtime {release}, which the target's release ships, refuses the model",
            where=job.where,
            found=message,
            expected=f"a model that ONNX Runtime {release} loads",
            fix="export with an older opset and IR version, or set a newer `triton` for the target"
            if too_new
            else "write the layer in other operators, take another precision, or set a newer "
            "`triton` for the target",
        )
    return WorkFailedError(
        f"ONNX Runtime {release} cannot run the model on {refused['phase']}",
        where=job.where,
        found=message,
        expected="an answer to every sample",
        fix="compare the sample's shapes with the spec's dims; a size that the export fixed must "
        "not be a named dimension",
    )


def _check_interface(job: Job, facts: dict[str, Any]) -> None:
    for side in ("inputs", "outputs"):
        declared = {
            name: f"tensor({TYPES.get(tensor['dtype'], tensor['dtype'])})"
            for name, tensor in job.params[side].items()
        }
        served = facts[side]
        # An input that the graph does not need may be missing; nothing else may differ
        wrong = {name: kind for name, kind in served.items() if declared.get(name) != kind}
        missing = [name for name in declared if side == "outputs" and name not in served]
        if wrong or missing:
            raise WorkFailedError(
                f"the model's {side} are not those of the spec",
                where=job.where,
                found=", ".join(f"{name}: {kind}" for name, kind in served.items()),
                expected=", ".join(f"{name}: {kind}" for name, kind in declared.items()),
                fix=f"declare the {side} of model.yaml as the model has them",
            )


def _batches(samples: Sequence[Golden], params: Any) -> Iterator[Golden]:
    """A batch out of every few samples of one shape; one sample twice, where none are alike."""
    most = min(LARGEST_BATCH, params["dims"].get(BATCH, {}).get("max", LARGEST_BATCH))
    shapes: dict[str, list[Golden]] = {}
    for sample in samples:
        rows = _rows(sample, params)
        if rows is None or rows > most:
            continue
        arrays = {**sample.inputs, **{f"out {name}": a for name, a in sample.outputs.items()}}
        key = json.dumps({name: array.shape[1:] for name, array in arrays.items()})
        shapes.setdefault(key, []).append(sample)
    formed = False
    for alike in shapes.values():
        batch: list[Golden] = []
        for sample in alike:
            if sum(_rows(one, params) or 0 for one in (*batch, sample)) > most:
                break
            batch.append(sample)
        if len(batch) > 1:
            formed = True
            yield _together(batch)
    for alike in () if formed else shapes.values():
        if 2 * (_rows(alike[0], params) or most) <= most:
            yield _together([alike[0], alike[0]])
            return


def _rows(sample: Golden, params: Any) -> int | None:
    """The sample's batch size; None where its tensors do not agree on one."""
    first = [array.shape[:1] for array in (*sample.inputs.values(), *sample.outputs.values())]
    batched = [Tensor.model_validate(t).shape[:1] == (BATCH,) for t in params["inputs"].values()]
    if not all(batched) or len(set(first)) != 1 or not first[0]:
        return None
    return int(first[0][0]) or None


def _together(samples: Sequence[Golden]) -> Golden:
    def joined(side: str) -> dict[str, Any]:
        names = getattr(samples[0], side)
        return {n: np.concatenate([getattr(one, side)[n] for one in samples]) for n in names}

    return Golden(joined("inputs"), joined("outputs"))


def _tolerance_fix(precision: str) -> str:
    if precision == "fp32":
        return (
            "look for randomness or shape-dependent code in the model; else set a wider `tolerance`"
        )
    steps = {"int8": "recipe: accurate, precision: fp32", "fp16": "precision: fp32"}
    return f"set {steps[precision]}, or a wider `tolerance` for this version{LAYERS}"
