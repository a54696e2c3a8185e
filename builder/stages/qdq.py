"""The stage that makes an int8 model for GPUs: static, by symmetric Q/DQ pairs; the rest is fp16.

What `int8` makes is for CPUs: TensorRT and ONNX Runtime's CUDA provider have neither its integer
products nor its unsigned, lopsided scales. Inputs and output are those of `int8`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.stages import artifact, goldens
from builder.stages.quantising import half, linear, pairs, trial
from builder.stages.quantising.calibration import magnitudes, ranges

if TYPE_CHECKING:
    import onnx

    from builder.stages.goldens import Golden
    from builder.stages.job import Job
    from builder.stages.quantising.recipes import Effort


def run(job: Job) -> dict[str, object]:
    """Quantises `onnx` into `model.onnx`; facts and errors are `trial`'s."""
    samples = goldens.read(job.inputs["reference"] / goldens.FILE)
    effort: Effort = job.params.get("recipe") or "default"
    subject = _subject(artifact.read(job.inputs["onnx"]), samples)
    return trial.run(
        job, subject.recipes(effort), subject.made_by, samples, layouts=False, instead="fp16"
    )


def _subject(model: onnx.ModelProto, samples: list[Golden]) -> pairs.Subject:
    wide = half.kept(model, samples)
    layers = linear.find(model, linear.constants(model))
    names = list(dict.fromkeys(one.input for one in layers.linears))
    convolutions = pairs.convolutions(model, layers)
    images = list(dict.fromkeys(one.input for one in convolutions))
    return pairs.Subject(
        model,
        layers,
        convolutions,
        magnitudes(model, images, samples) if images else {},
        ranges(model, names, samples) if names else {},
        wide,
    )
