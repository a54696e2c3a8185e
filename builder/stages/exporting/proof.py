"""Whether an ONNX file answers as the torch model does, also at sizes it was not made at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from builder.spec.tolerance import Tolerance, resolve
from builder.stages.agreement import compare
from builder.stages.exporting.kernels import lacking
from builder.stages.exporting.sizes import dynamic, one_apart, others, resized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from builder.spec.tolerance import OutputTolerance
    from builder.stages.goldens import Golden
    from builder.stages.usercode.signature import Signature

    Arrays = Mapping[str, np.ndarray[Any, Any]]

GOLDENS = 32
"""Samples compared at most, spread over all: a proof must not cost more than the export."""

THREADS = 2


class DisagreementError(Exception):
    """The file does not answer as the model does."""


class KernelError(DisagreementError):
    """ONNX Runtime has no kernel for an operator at the dtype that the file has it."""

    def __init__(self, message: str, operator: str) -> None:
        super().__init__(message)
        self.operator = operator


@dataclass(frozen=True)
class Question:
    """Inputs, what the model answers to them, and how to speak of them."""

    inputs: Arrays
    outputs: Arrays
    label: str


def questions(
    goldens: Sequence[Golden],
    signature: Signature,
    used: Mapping[str, int],
    answer: Callable[[Arrays], Arrays | None],
) -> list[Question]:
    """The samples, and the model's answers at sizes unlike those of the export.

    Args:
        goldens: the samples with the model's outputs.
        signature: the spec's inputs, outputs and dimensions.
        used: the sizes of the example that is exported.
        answer: the torch model; None where it cannot answer at such sizes.
    """
    step = max(1, len(goldens) // GOLDENS)
    chosen = list(enumerate(goldens))[::step][:GOLDENS]
    asked = [Question(g.inputs, g.outputs, f"sample {n}") for n, g in chosen]
    samples = [golden.inputs for golden in goldens]
    seen: list[Mapping[str, int]] = [dict(used)]
    for group in others(samples, signature, used):
        for sizes in group:
            if sizes in seen:
                continue
            seen.append(sizes)
            inputs = resized(samples, signature, sizes)
            if (outputs := answer(inputs)) is not None:
                asked.append(Question(inputs, outputs, _sizes(sizes)))
                break
    return asked


def fixed_dimension(  # noqa: PLR0913 - a question needs all that the proof had
    path: Path,
    goldens: Sequence[Golden],
    signature: Signature,
    used: Mapping[str, int],
    answer: Callable[[Arrays], Arrays | None],
    tolerance: Tolerance,
) -> dict[str, int]:
    """The dimension that a file has as a constant, by its size at the export; {} if none.

    That is one which, changed alone, turns a right answer into a wrong one.
    """
    samples = [golden.inputs for golden in goldens]

    def right(sizes: Mapping[str, int]) -> bool | None:
        inputs = resized(samples, signature, sizes)
        if (outputs := answer(inputs)) is None:
            return None
        try:
            prove(path, [Question(inputs, outputs, "")], signature, tolerance)
        except DisagreementError:
            return False
        return True

    if right(used):
        for name, sizes in one_apart(samples, signature, used):
            if right(sizes) is False:
                return {name: used[name]}
    return {}


def proven_sizes(asked: Sequence[Question], signature: Signature) -> dict[str, list[int]]:
    """For each dimension that may vary, the sizes at which the file was compared."""
    every = [signature.sizes(question.inputs) for question in asked]
    return {name: sorted({sizes[name] for sizes in every}) for name in dynamic(signature)}


def prove(
    path: Path, asked: Sequence[Question], signature: Signature, tolerance: Tolerance
) -> dict[str, dict[str, float]]:
    """The worst figures by output, over all questions.

    Raises:
        DisagreementError: one answer is off, or ONNX Runtime gives none.
    """
    session = _session(path)
    worst: dict[str, dict[str, float]] = {}
    for question in asked:
        feed = {name: question.inputs[name] for name in signature.inputs}
        try:
            found = session.run(list(signature.outputs), feed)
        except (MemoryError, OSError):
            raise
        except Exception as error:
            raise DisagreementError(
                f"{question.label}: ONNX Runtime: {first_line(error)}"
            ) from error
        for name, actual in zip(signature.outputs, found, strict=True):
            expected = question.outputs[name]
            if actual.dtype != expected.dtype:
                raise DisagreementError(
                    f"{question.label}: output `{name}` is {actual.dtype}, not {expected.dtype}"
                )
            bounds = _bounds(signature.outputs[name].dtype, name, tolerance)
            figures = compare(expected, actual, bounds, batched=signature.rows)
            if figures.reason:
                raise DisagreementError(f"{question.label}: output `{name}`: {figures.reason}")
            _worsen(worst.setdefault(name, {}), figures.cosine, figures.relative, figures.mismatch)
    return worst


def first_line(error: BaseException) -> str:
    """An exception in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _bounds(dtype: str, name: str, tolerance: Tolerance) -> OutputTolerance:
    return resolve("fp16" if dtype == "float16" else "fp32", name, tolerance)


def _worsen(worst: dict[str, float], cosine: float, relative: float, mismatch: float) -> None:
    worst["cosine"] = round(min(worst.get("cosine", 1.0), cosine), 6)
    worst["relative"] = max(worst.get("relative", 0.0), float(f"{relative:.1e}"))
    worst["mismatch"] = max(worst.get("mismatch", 0.0), mismatch)


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def _session(path: Path) -> Any:
    import onnx
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 4
    # threads that spin while they wait spend the CPU time of the builds beside this one
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        onnx.checker.check_model(str(path))
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (MemoryError, OSError):
        raise
    except Exception as error:
        why = f"ONNX Runtime refuses it: {first_line(error)}"
        if operator := lacking(str(error)):
            raise KernelError(why, operator) from error
        raise DisagreementError(why) from error
