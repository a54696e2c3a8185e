"""Int8 recipes tried in order against the goldens: the first that agrees well, or the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from builder.errors import WorkFailedError
from builder.stages import artifact
from builder.stages.agreement import words
from builder.stages.job import LAYERS
from builder.stages.quantising.recipes import COMFORT
from builder.stages.score import Standard, score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from builder.spec.tolerance import Precision
    from builder.stages.goldens import Golden
    from builder.stages.job import Job
    from builder.stages.quantising.recipes import Effort
    from builder.stages.score import Score

Recipe = TypeVar("Recipe")


def run(  # noqa: PLR0913 - a trial's parts
    job: Job,
    recipes: Sequence[Recipe],
    make: Callable[[Recipe], onnx.ModelProto],
    samples: Sequence[Golden],
    *,
    layouts: bool = True,
    instead: Precision = "fp32",
) -> dict[str, object]:
    """Writes `model.onnx` by the recipe that is taken.

    Args:
        job: the stage's.
        recipes: in the order in which they are tried; their text names them.
        make: the model by a recipe.
        samples: with the right answers.
        layouts: see `artifact.session`.
        instead: the precision to take where int8 does not do.

    Returns the facts: the recipe taken, its agreement, all that were tried, bytes before
    and after.

    Raises:
        WorkFailedError: no recipe keeps the tolerance (and the job does not want the best one
            anyway), or there is none.
    """
    standard = Standard.of(job.params, "int8")
    effort: Effort = job.params.get("recipe") or "default"
    if not recipes:
        raise WorkFailedError(
            "nothing in this graph can be quantised",
            where=job.where,
            found="no constant matrix, embedding, convolution or LSTM of a size that counts",
            fix=f"set precision: {instead} for this version",
        )
    tried: list[dict[str, object]] = []
    best: tuple[Recipe, Score, onnx.ModelProto] | None = None
    for recipe in recipes:
        try:
            model = make(recipe)
            running = artifact.session(model, layouts=layouts)
            found = score(samples, artifact.answers(running, samples), standard)
        except (MemoryError, OSError, WorkFailedError):
            raise  # another machine, or another day, may have more
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
            fix=f"set precision: {instead} for this version",
            detail="\n".join(f"{one['recipe']}: {one['failed']}" for one in tried),
        )
    recipe, found, model = best
    if found.misses and not job.anyway:
        raise _refusal(job, str(recipe), found, standard, len(tried), instead)
    _strip(model)
    return {
        "recipe": str(recipe),
        "agreement": found.figures,
        "tried": tried,
        "size": artifact.write(model, job.out),
        "size_fp32": artifact.size(job.inputs["onnx"]),
    }


def _refusal(  # noqa: PLR0913 - what a message says
    job: Job, recipe: str, found: Score, standard: Standard, tried: int, instead: Precision
) -> WorkFailedError:
    miss = found.misses[0]
    accurate = [] if job.params.get("recipe") == "accurate" else ["recipe: accurate"]
    fixes = [*accurate, f"precision: {instead}", "a wider `tolerance` for this version"]
    return WorkFailedError(
        f"none of {tried} int8 recipes keeps the tolerance",
        where=job.where,
        found=f"best was {recipe}: {found.summary()}; "
        f"sample {miss.sample}, output {miss.output}: {miss.reason}",
        expected=words(standard.bounds[miss.output]),
        fix="set " + ", or ".join(fixes) + LAYERS,
    )


def _strip(model: onnx.ModelProto) -> None:
    """Drops what describes the graph before it was rewritten."""
    del model.graph.value_info[:]
    del model.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
