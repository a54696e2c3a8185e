"""The stage that makes an int8 model: tries recipes, keeps the first that agrees well.

Inputs: `onnx` (fp32) and `reference` (goldens, whose inputs also calibrate).
Output: `model.onnx`, a function of the two alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.stages import artifact, goldens
from builder.stages.agreement import words
from builder.stages.quantising import linear, recurrent
from builder.stages.quantising.calibration import ranges
from builder.stages.quantising.recipes import COMFORT, Recipe, Subject, candidates
from builder.stages.score import Score, Standard, score

if TYPE_CHECKING:
    import onnx

    from builder.stages.goldens import Golden
    from builder.stages.job import Job
    from builder.stages.quantising.recipes import Effort


def run(job: Job) -> dict[str, object]:
    """Quantises `onnx` into `model.onnx`.

    Returns the facts: the recipe taken, its agreement, all that were tried, bytes before
    and after.

    Raises:
        WorkFailedError: no recipe keeps the tolerance, or there is nothing to quantise.
    """
    samples = goldens.read(job.inputs["reference"] / goldens.FILE)
    standard = Standard.of(job.params, "int8")
    effort: Effort = job.params.get("recipe") or "default"
    subject = _subject(artifact.read(job.inputs["onnx"]), samples)
    recipes = candidates(subject.model, subject.layers, effort)
    if not recipes:
        raise WorkFailedError(
            "nothing in this graph can be quantised",
            where=job.where,
            found="no constant matrix, embedding, convolution or LSTM of a size that counts",
            fix="set precision: fp32 for this version",
        )
    tried: list[dict[str, object]] = []
    best: tuple[Recipe, Score, onnx.ModelProto] | None = None
    for recipe in recipes:
        try:
            model = subject.made_by(recipe)
            found = score(samples, artifact.answers(artifact.session(model), samples), standard)
        except WorkFailedError:
            raise
        except Exception as error:  # noqa: BLE001 - foreign tools; refused below if all fail
            tried.append({"recipe": str(recipe), "failed": f"{type(error).__name__}: {error}"})
            continue
        tried.append({"recipe": str(recipe), "used": round(found.used, 4)})
        if best is None or found.used < best[1].used:
            best = (recipe, found, model)
        if found.used <= COMFORT[effort]:
            break
    if best is None:
        raise WorkFailedError(
            f"none of {len(tried)} int8 recipes can be applied to this graph",
            where=job.where,
            found=tried[0]["failed"],
            fix="set precision: fp32 for this version",
            detail="\n".join(f"{one['recipe']}: {one['failed']}" for one in tried),
        )
    recipe, found, model = best
    if found.misses:
        raise _refusal(job, recipe, found, standard, tried)
    _strip(model)
    return {
        "recipe": str(recipe),
        "agreement": found.figures,
        "tried": tried,
        "size": artifact.write(model, job.out),
        "size_fp32": artifact.size(job.inputs["onnx"]),
    }


def _subject(model: onnx.ModelProto, samples: list[Golden]) -> Subject:
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}.{place}"  # the quantisers go by name
    if recurrent.present(model):
        model = recurrent.quantise(model)
    layers = linear.find(model, linear.constants(model))
    names = list(dict.fromkeys(one.input for one in layers.linears))
    seen = ranges(model, names, samples) if names else {}
    return Subject(model, layers, seen, samples)


def _refusal(
    job: Job, recipe: Recipe, found: Score, standard: Standard, tried: list[dict[str, object]]
) -> WorkFailedError:
    miss = found.misses[0]
    accurate = [] if job.params.get("recipe") == "accurate" else ["recipe: accurate"]
    fixes = [*accurate, "precision: fp32", "a wider `tolerance` for this version"]
    return WorkFailedError(
        f"none of {len(tried)} int8 recipes keeps the tolerance",
        where=job.where,
        found=f"best was {recipe}: {found.summary()}; "
        f"sample {miss.sample}, output {miss.output}: {miss.reason}",
        expected=words(standard.bounds[miss.output]),
        fix="set " + ", or ".join(fixes),
    )


def _strip(model: onnx.ModelProto) -> None:
    """Drops what describes the graph before it was rewritten."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
