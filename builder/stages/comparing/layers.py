"""Where a graph departs from the fp32 graph that it was made of, value by value.

Two errors are had for each value that both graphs compute. One is what has come together there:
everything before counts. The other is the layer's own: it is given what the fp32 graph has, so that
only what it does itself counts. Where an output misses its golden, the first layer whose own error
is beyond the bounds is to blame; docs/decisions/0034-layer-by-layer.md says why so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import WorkFailedError
from builder.stages import artifact, goldens, runtime
from builder.stages.agreement import words
from builder.stages.comparing import cuts
from builder.stages.score import Standard

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import onnx

    from builder.spec.tolerance import OutputTolerance
    from builder.stages.comparing.cuts import Piece
    from builder.stages.job import Job

RUNNER = Path(__file__).with_name("layers_runner.py")
BYTES = 128_000_000
"""About how much of one sample's values is held at once, of each graph."""

FIRST, MOST = 8, 64
"""Values that are asked for together: the first time, when their size is not known, and at most."""

DWARFED = 0.1
"""Share of the worst error of a layer's own below which another one's is not what is looked for."""

TYPES: Mapping[str, str] = {
    "float": "FLOAT",
    "float16": "FLOAT16",
    "double": "DOUBLE",
    **{
        f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32)
    },
    "int64": "INT64",
    "uint64": "UINT64",
    "bool": "BOOL",
}
"""ONNX's names by those that ONNX Runtime has for what a tensor is made of; no strings."""


@dataclass(frozen=True)
class Figures:
    """How far a value is off, in the worst sample.

    Attributes:
        cosine: least, row by row.
        relative: greatest difference, as a share of the fp32 value's largest magnitude.
        absolute: greatest difference.
        mismatch: greatest share of unequal elements, of integers and bools.
        used: how much of the bounds that is; above 1 they are missed.
        sample: which one used most of them.
    """

    cosine: float
    relative: float
    absolute: float
    mismatch: float
    used: float
    sample: int


@dataclass(frozen=True)
class Layer:
    """One value that both graphs compute.

    Attributes:
        value: its name.
        node: the name of the node that makes it in the rewritten graph.
        operator: of the node that makes it in the fp32 graph.
        operators: of what makes it in the rewritten graph.
        sources: the values that this starts from.
        output: whether the model answers with it. Then the golden counts.
        whole: with everything before.
        own: of the layer alone.
    """

    value: str
    node: str
    operator: str
    operators: tuple[str, ...]
    sources: tuple[str, ...]
    output: bool
    whole: Figures
    own: Figures


@dataclass(frozen=True)
class Comparison:
    """All layers, in the order in which they run.

    Attributes:
        bounds: what inner values are held against.
        outputs: likewise, by output.
        onnxruntime: in which it was.
    """

    layers: tuple[Layer, ...]
    bounds: OutputTolerance
    outputs: Mapping[str, OutputTolerance]
    onnxruntime: str

    @property
    def missed(self) -> tuple[Layer, ...]:
        """The outputs that are beyond their bounds."""
        return tuple(one for one in self.layers if one.output and one.whole.used > 1)

    @property
    def behind(self) -> tuple[Layer, ...]:
        """The layers that a missed output depends on, itself among them."""
        by_name = {one.value: one for one in self.layers}
        ahead, found = [one.value for one in self.missed], set[str]()
        while ahead:
            name = ahead.pop()
            if name in by_name and name not in found:
                found.add(name)
                ahead += by_name[name].sources
        return tuple(one for one in self.layers if one.value in found)

    @property
    def first(self) -> Layer | None:
        """The first layer to blame; None where nothing is missed, or errors only add up."""
        worst = max((one.own.used for one in self.behind), default=0.0)
        least = max(1.0, worst * DWARFED)
        return next(
            (one for one in self.behind if one.own.used > 1 and one.own.used >= least), None
        )

    def worst(self, count: int) -> tuple[Layer, ...]:
        """The layers whose own error is largest, in the order in which they run."""
        places = sorted(range(len(self.layers)), key=lambda at: -self.layers[at].own.used)[:count]
        return tuple(self.layers[at] for at in sorted(places))

    def words(self, layer: Layer) -> str:
        """What a layer is held against."""
        return words(self.outputs[layer.value] if layer.output else self.bounds)


def compare(job: Job) -> Comparison:
    """Compares `made` with `onnx`, of which it was made, over the samples of `reference`.

    The job's parameters are those of `prove`, whose runtime it wants; its `out` takes what is
    written meanwhile.

    Raises:
        MissingError: there is no runtime.
        WorkFailedError: the graphs have no values in common, or ONNX Runtime refuses one.
    """
    standard = Standard.of(job.params, job.params["precision"])
    reference = cuts.light(artifact.read(job.inputs["onnx"]), job.out / "reference.onnx")
    made = cuts.light(artifact.read(job.inputs["made"]), job.out / "made.onnx")
    matched = cuts.common(reference, made)
    types = _types(job, made, list(matched))
    pieces = cuts.pieces(made, types)
    inner = Standard.of({**job.params, "outputs": {"": _ANY}}, job.params["precision"]).bounds[""]
    rectified = frozenset(name for name, dropped in matched.items() if dropped)
    asking = _Asking(job, reference, made, types, rectified, standard, inner)
    figures: dict[str, Mapping[str, Any]] = {}
    count = FIRST
    while rest := pieces[len(figures) :]:
        answer = asking.ask(rest[:count])
        figures.update(answer["values"])
        largest = sum(one["bytes"] for one in answer["values"].values()) / len(answer["values"])
        count = max(1, min(MOST, int(BYTES / max(largest, 1.0))))
    operators = {name: n.op_type for n in reference.graph.node for name in n.output}
    layers = tuple(
        Layer(
            piece.value,
            piece.node,
            operators[piece.value],
            piece.operators,
            piece.sources,
            piece.value in standard.bounds,
            Figures(**figures[piece.value]["whole"]),
            Figures(**figures[piece.value]["own"]),
        )
        for piece in pieces
    )
    return Comparison(layers, inner, standard.bounds, job.params["onnxruntime"])


_ANY = {"dtype": "float32", "shape": []}
"""An output of no name: its bounds are those that a version has for all."""


@dataclass(frozen=True)
class _Asking:
    job: Job
    reference: onnx.ModelProto
    made: onnx.ModelProto
    types: Mapping[str, int]
    rectified: Collection[str]
    standard: Standard
    inner: OutputTolerance

    def ask(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        """The figures of some pieces."""
        folder = self.job.out
        values = [piece.value for piece in pieces]
        inputs = {value.name for value in self.made.graph.input}
        sources = {name for piece in pieces for name in piece.sources} - inputs
        question = {
            "reference": str(
                cuts.marked(
                    self.reference, sorted({*values, *sources}), folder / "reference.marked.onnx"
                )
            ),
            "made": str(cuts.marked(self.made, values, folder / "made.marked.onnx")),
            "own": str(cuts.cut(self.made, pieces, self.types, folder / "own.onnx")),
            "samples": str(self.job.inputs["reference"] / goldens.FILE),
            "batched": self.standard.batched,
            "rectified": [name for name in values if name in self.rectified],
            "values": {
                name: self.standard.bounds.get(name, self.inner).model_dump() for name in values
            },
        }
        return _asked(self.job, question)


def _types(job: Job, made: onnx.ModelProto, names: Sequence[str]) -> dict[str, int]:
    """The element types of values of the rewritten graph, of those that are numbers."""
    from onnx import TensorProto

    if not names:
        raise WorkFailedError(
            "the graphs have no value in common",
            where=job.where,
            expected="names of values that the rewriting has kept",
        )
    file = cuts.marked(made, names, job.out / "types.onnx")
    told = _asked(job, {"types": str(file)})["types"]
    kinds = {name: kind.removeprefix("tensor(").removesuffix(")") for name, kind in told.items()}
    return {
        name: TensorProto.DataType.Value(TYPES[kind])
        for name, kind in kinds.items()
        if kind in TYPES
    }


def _asked(job: Job, question: Mapping[str, Any]) -> dict[str, Any]:
    asked, result = job.out / "question.json", job.out / "result.json"
    asked.write_text(json.dumps(question))
    told = runtime.ask(job, RUNNER, asked, result, result=result, about="a part of the graphs")
    if "refused" in told:
        raise WorkFailedError(
            f"ONNX Runtime {job.params['onnxruntime']} refuses a part of the graphs",
            where=job.where,
            found=told["refused"],
            expected="an answer to every sample",
        )
    return told
