"""Stage `export`: the torch model as ONNX, proven against the model itself.

Ways are tried in order until one is proven. Proven means: ONNX's own checker, ONNX Runtime,
the goldens, and the torch model at sizes that the export did not see.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import BuilderError, InputError, WorkFailedError
from builder.spec.tolerance import Tolerance
from builder.stages import goldens, loadable
from builder.stages.exporting import onnx_graph
from builder.stages.exporting.kernels import keep_transposes, widen, widen_recent
from builder.stages.exporting.proof import (
    DisagreementError,
    KernelError,
    Question,
    first_line,
    fixed_dimension,
    prove,
    proven_sizes,
    questions,
)
from builder.stages.exporting.sizes import dynamic, examples, resized
from builder.stages.exporting.ways import NEWEST_OPSET, WAYS, Case, Way
from builder.stages.usercode import source
from builder.stages.usercode.answers import adapter, answers
from builder.stages.usercode.blame import importable, users_part
from builder.stages.usercode.signature import Signature
from builder.triton.opsets import some

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import onnx_ir as ir
    import torch

    from builder.stages.goldens import Golden
    from builder.stages.job import Job
    from builder.stages.usercode.source import Loaded

    Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Failure:
    """A way that did not work: why, the dimensions it fixed if it did, and its traceback.

    Attributes:
        unloadable: whether it is the target's release that would refuse what it made.
    """

    way: str
    why: str
    fixed: Mapping[str, int] = field(default_factory=dict)
    detail: str = ""
    unloadable: bool = False


class _RefusedError(Exception):
    """A graph that a way made, and that cannot be shipped."""

    def __init__(
        self, why: str, fixed: Mapping[str, int] | None = None, *, unloadable: bool = False
    ) -> None:
        super().__init__(why)
        self.fixed = fixed or {}
        self.unloadable = unloadable


@dataclass(frozen=True)
class _Proven:
    way: Way
    opset: int
    ir_version: int
    agreement: Mapping[str, Mapping[str, float]]
    widened: Sequence[str]


@dataclass(frozen=True)
class _Work:
    """All that the ways have in common."""

    job: Job
    loaded: Loaded
    model: torch.nn.Module
    signature: Signature
    goldens: Sequence[Golden]
    examples: Sequence[Mapping[str, int]]
    answer: Callable[[Arrays], Arrays | None]
    asked: Sequence[Question]
    scratch: Path


def run(job: Job) -> dict[str, object]:
    """Writes `model.onnx`, and `model.onnx.data` for weights beyond 2 GB.

    Facts: `way`, `opset`, `ir_version`, `tried` (ways that failed and why), `widened` (operators
    run at another dtype, see `kernels`), `agreement` (worst figures by output), `sizes` (where it
    was proven), `reads` and `unstable` (see `Observation.facts`), and `note` if the model has one.

    Raises:
        InputError: the model fixes a dimension that the spec leaves open, or answers
            with other shapes than the spec's at sizes that the spec allows.
        WorkFailedError: no way led to a proven file that the target's release loads.
    """
    signature = Signature.of(job.params)
    loaded = source.load(job.params, job.project)
    model = adapter(loaded.module, signature, loaded.place.spec)
    found = goldens.read(job.inputs["reference"] / goldens.FILE)
    with (
        tempfile.TemporaryDirectory(dir=job.out) as scratch,
        importable(loaded.place),
    ):
        sizes = _examples(model, found, signature)
        answer = _eager(loaded, model, signature)
        asked = questions(found, signature, sizes[0], answer)
        work = _Work(job, loaded, model, signature, found, sizes, answer, asked, Path(scratch))
        return _first_proven(work)


def _first_proven(work: _Work) -> dict[str, object]:
    wanted = work.job.params.get("ways")
    failures: list[Failure] = []
    for way in WAYS:
        if (wanted and way.name not in wanted) or way.example >= len(work.examples):
            continue
        if not way.applies(work.loaded.module):
            continue
        try:
            proven = _attempt(way, work)
        except (MemoryError, OSError, BuilderError):
            raise
        except Exception as error:  # noqa: BLE001 - exporters raise everything; all is recorded
            failures.append(_failure(way, error, work.loaded))
            continue
        facts: dict[str, object] = {
            "way": proven.way.name,
            "opset": proven.opset,
            "ir_version": proven.ir_version,
            "tried": [{"way": failure.way, "why": failure.why} for failure in failures],
            "widened": proven.widened,
            "agreement": proven.agreement,
            "sizes": proven_sizes(work.asked, work.signature),
            **work.loaded.observed.facts(work.job.project),
        }
        return facts | ({"note": work.loaded.note} if work.loaded.note else {})
    raise _hopeless(work, failures)


def _attempt(way: Way, work: _Work) -> _Proven:
    params, signature = work.job.params, work.signature
    sizes = work.examples[way.example]
    inputs = resized([golden.inputs for golden in work.goldens], signature, sizes)
    model = _exported(way, Case(work.model, inputs, signature, params["opset"], work.scratch))
    fixed = onnx_graph.specialised(model.graph, signature)
    if fixed := {name: size for name, size in fixed.items() if name in dynamic(signature)}:
        text = ", ".join(f"{name} = {size}" for name, size in fixed.items())
        raise _RefusedError(f"it fixed {text}", fixed)
    loads = _loads(params)
    model = _retargeted(model, params["opset"], loads["opset"])
    onnx_graph.normalise(model, signature, params["ir_version"])
    if refused := loadable.reasons(model, loads):
        raise _RefusedError(some(refused), unloadable=True)
    limit = params.get("external_data_above", onnx_graph.EXTERNAL_ABOVE)
    path = onnx_graph.save(model, work.job.out, limit)
    tolerance = Tolerance.model_validate(params.get("tolerance") or {})
    keep_transposes(path)
    widened = sorted(widen_recent(path))
    try:
        while True:
            try:
                figures = prove(path, work.asked, signature, tolerance)
                return _Proven(way, model.opset_imports[""], model.ir_version, figures, widened)
            except KernelError as error:
                more = widen(path, error.operator, widened)
                if not more:
                    raise
                widened += sorted(more)
    except DisagreementError as error:
        known = fixed_dimension(path, work.goldens, signature, sizes, work.answer, tolerance)
        path.unlink()
        path.with_name(onnx_graph.DATA).unlink(missing_ok=True)
        raise _RefusedError(str(error), known) from error


def _exported(way: Way, case: Case) -> ir.Model:
    """What the way makes; at the newest opset if an operator in it is too new for the one wanted.

    Whether the release loads that one is asked afterwards, when there is a graph to name nodes of.
    """
    try:
        return way.export(case)
    except Exception as error:
        if type(_root(error)).__name__ != "VersionConverterError" or case.opset >= NEWEST_OPSET:
            raise
    return way.export(replace(case, opset=NEWEST_OPSET))


def _loads(params: Mapping[str, Any]) -> Mapping[str, int]:
    """What the release loads; what is written for it, where nothing else is said."""
    written = {name: params[name] for name in ("opset", "ir_version")}
    loads: Mapping[str, int] = params.get("loads", written)
    return loads


def _retargeted(model: ir.Model, opset: int, highest: int) -> ir.Model:
    """The model at the opset wanted, or at the highest that the release loads, if there is a way.

    A model that was made at a newer one, and that no way leads back from, comes as it is.
    """
    import onnx_ir as ir

    made = model.opset_imports.get("", 0)
    if made <= opset:
        return model
    import onnx.version_converter

    for target in dict.fromkeys((opset, min(made, highest))):
        try:
            proto = onnx.version_converter.convert_version(ir.serde.serialize_model(model), target)
        except (MemoryError, OSError):
            raise
        except Exception:  # noqa: BLE001, S112 - it asserts in C++; what stands in the way is told
            continue
        return ir.serde.deserialize_model(proto)
    return model


def _examples(
    model: torch.nn.Module, found: Sequence[Golden], signature: Signature
) -> list[Mapping[str, int]]:
    """The sizes to export at that the model itself answers at: the best, and a second."""
    samples = [golden.inputs for golden in found]
    working: list[Mapping[str, int]] = []
    for sizes in examples(samples, signature):
        if sizes in working:
            continue
        try:
            answers(model, resized(samples, signature, sizes), signature)
        except (MemoryError, OSError):
            raise
        except Exception:  # noqa: BLE001, S112 - the model may want its sizes some way; ask on
            continue
        working.append(sizes)
        if len(working) == max(way.example for way in WAYS) + 1:
            break
    return working or [signature.sizes(samples[0])]


def _eager(
    loaded: Loaded, model: torch.nn.Module, signature: Signature
) -> Callable[[Arrays], Arrays | None]:
    """The torch model as a question's answerer; None where it cannot answer."""

    def answer(inputs: Arrays) -> Arrays | None:
        try:
            outputs = answers(model, inputs, signature)
        except (MemoryError, OSError):
            raise
        except Exception:  # noqa: BLE001 - sizes that do not go together, not a failure
            return None
        sizes = signature.sizes(inputs)
        try:
            where = f"{loaded.place.spec} outputs.{{name}}"
            return signature.checked_outputs(outputs, where, sizes)
        except InputError as error:
            text = ", ".join(f"{name} = {size}" for name, size in sizes.items())
            parts = error.as_dict() | {"problem": f"{error.problem} (inputs of {text})"}
            raise InputError(**parts) from error  # type: ignore[arg-type]

    return answer


def _failure(way: Way, error: Exception, loaded: Loaded) -> Failure:
    fixed = error.fixed if isinstance(error, _RefusedError) else {}
    mine = isinstance(error, _RefusedError)
    why = str(error) if mine else first_line(_root(error))
    why = re.sub(r"0x[0-9a-f]+", "0x…", why.replace(str(loaded.place.project), "."))
    detail = "" if mine else users_part(_root(error), loaded.place.path.parent)
    unloadable = isinstance(error, _RefusedError) and error.unloadable
    return Failure(way.name, why, fixed, detail, unloadable)


def _root(error: BaseException) -> BaseException:
    """The first cause: exporters wrap what happened in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _hopeless(work: _Work, failures: Sequence[Failure]) -> Exception:
    spec = work.loaded.place.spec
    detail = "\n".join(f"{failure.way}: {failure.why}" for failure in failures)
    if longest := max((failure.detail for failure in failures), key=len, default=""):
        detail += "\n\n" + "\n".join(longest.splitlines()[-30:])
    # a trace has constants wherever it had nothing better: its word alone says little
    traced = [failure for failure in failures if failure.way.startswith("torchscript")]
    fixed = next((f.fixed for f in failures if f.fixed and f not in traced), None)
    if fixed:
        name, size = next(iter(fixed.items()))
        bounds = work.signature.dims.get(name)
        return InputError(
            f"the export holds at one size of `{name}` only, which the spec says is dynamic",
            where=f"{spec} dims.{name}",
            found=f"{name} is fixed, as it was in the export's example: {size}",
            expected=f"{name} from {bounds.min} to {bounds.max}" if bounds else f"any {name}",
            fix=f"in {work.loaded.where}, let nothing depend on the size as a number "
            "(`int(shape)`, an `if` on a shape, a constant in `view`), "
            f"or write {size} for `{name}` in the shapes",
            detail=detail,
        )
    if failures and failures[0].unloadable:
        opset = _loads(work.job.params)["opset"]
        return WorkFailedError(
            "the target's Triton release would not load the model",
            where=work.job.where,
            found=failures[0].why,
            expected=f"operators of ONNX itself, of opset {opset} or older",
            fix=f"write this in other operators in {work.loaded.place.file}, or set a newer "
            "`triton` for the target: `triton-builder releases --triton` shows what each loads",
            detail=detail,
        )
    return WorkFailedError(
        "no way of exporting the model led to a file that answers as the model does",
        where=work.job.where,
        found=f"{len(failures)} ways failed: {', '.join(failure.way for failure in failures)}",
        expected="an ONNX file within tolerance of the torch model",
        fix=f"simplify what the first failure names in {work.loaded.place.file}; "
        "--debug shows the whole tracebacks",
        detail=detail,
    )
