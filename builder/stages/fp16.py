"""The stage that makes an fp16 model; inputs and outputs stay as the spec says.

Values that leave fp16's range in the samples are kept fp32 from the start; sums, that lose most,
where the conversion disagrees with the goldens (see `half`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.stages import artifact, goldens
from builder.stages.agreement import words
from builder.stages.job import LAYERS
from builder.stages.quantising.half import GUARDS, SUMS, convert, kept
from builder.stages.score import Score, Standard, score

if TYPE_CHECKING:
    import onnx

    from builder.stages.job import Job


def run(job: Job) -> dict[str, object]:
    """Converts `onnx` into `model.onnx`.

    Returns the facts: what is kept fp32, the agreement, bytes before and after.

    Raises:
        WorkFailedError: no conversion keeps the tolerance.
    """
    samples = goldens.read(job.inputs["reference"] / goldens.FILE)
    standard = Standard.of(job.params, "fp16")
    source = artifact.read(job.inputs["onnx"])
    wide = kept(source, samples)
    attempts: list[tuple[onnx.ModelProto, Score, dict[str, object]]] = []
    failures: list[str] = []
    for operators in (GUARDS, (*GUARDS, *SUMS)):
        try:
            model = convert(source, operators, wide)
            # ONNX Runtime 1.32 crashes laying out a bidirectional GRU in fp16
            running = artifact.session(model, layouts=False)
            found = score(samples, artifact.answers(running, samples), standard)
        except (MemoryError, OSError, WorkFailedError):
            raise  # another machine, or another day, may have more
        except Exception as error:  # noqa: BLE001 - foreign tools; refused below if all fail
            failures.append(f"{type(error).__name__}: {error}")
            continue
        attempts.append((model, found, {"operators": list(operators), "nodes": wide}))
        if not found.misses:
            break
    if not attempts:
        raise WorkFailedError(
            "this graph cannot be converted to fp16",
            where=job.where,
            found=failures[0],
            fix="set precision: fp32 for this version",
            detail="\n".join(failures),
        )
    model, found, fp32 = min(attempts, key=lambda attempt: attempt[1].used)
    if found.misses and not job.anyway:
        miss = found.misses[0]
        raise WorkFailedError(
            "no fp16 conversion keeps the tolerance",
            where=job.where,
            found=f"best of {len(attempts)}: {found.summary()}; "
            f"sample {miss.sample}, output {miss.output}: {miss.reason}",
            expected=words(standard.bounds[miss.output]),
            fix="set precision: fp32, or a wider `tolerance` for this version" + LAYERS,
        )
    del model.graph.value_info[:]
    return {
        "kept_fp32": fp32,
        "agreement": found.figures,
        "size": artifact.write(model, job.out),
        "size_fp32": artifact.size(job.inputs["onnx"]),
    }
