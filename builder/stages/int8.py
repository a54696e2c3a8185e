"""The stage that makes an int8 model for CPUs: tries recipes, keeps the first that agrees well.

Inputs: `onnx` (fp32) and `reference` (goldens, whose inputs also calibrate).
Output: `model.onnx`, a function of the two alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.stages import artifact, goldens
from builder.stages.quantising import linear, recurrent, trial
from builder.stages.quantising.calibration import ranges
from builder.stages.quantising.recipes import Subject, candidates

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
    recipes = candidates(subject.model, subject.layers, effort)
    return trial.run(job, recipes, subject.made_by, samples)


def _subject(model: onnx.ModelProto, samples: list[Golden]) -> Subject:
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}.{place}"  # the quantisers go by name
    if recurrent.present(model):
        model = recurrent.quantise(model)
    layers = linear.find(model, linear.constants(model))
    names = list(dict.fromkeys(one.input for one in layers.linears))
    seen = ranges(model, names, samples) if names else {}
    return Subject(model, layers, seen, samples)
