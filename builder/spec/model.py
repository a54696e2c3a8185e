"""model.yaml: one model, its versions, and how it is to be served."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from builder.spec.duration import Duration
from builder.spec.size import Size
from builder.spec.tensor import BATCH, MOST, Dim, Frozen, Tensor, is_batched
from builder.spec.tolerance import Precision, Tolerance
from builder.spec.version import Version, number

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")


MANIFEST = "manifest.json"
"""What lies beside the models in a repository."""


def _named(text: str) -> str:
    if not _NAME.fullmatch(text) or len(text) > 200:  # noqa: PLR2004 - folders take 255
        raise ValueError(
            "not a name; expected letters, digits, `_`, `-` and `.`, first a letter or a digit, "
            "at most 200 of them"
        )
    if text == MANIFEST:
        raise ValueError(
            f"the repository has a file of that name; expected another than {MANIFEST}"
        )
    return text


Name = Annotated[
    str,
    AfterValidator(_named),
    WithJsonSchema({"type": "string", "pattern": _NAME.pattern, "maxLength": 200}),
]
"""A name that Triton, object stores and file systems all take."""

Function = Annotated[str, Field(pattern=r"^[^:\s]+\.py:[A-Za-z_]\w*$")]
"""`file.py:function`, the file relative to the model's folder."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

Batch = Annotated[int, Field(ge=1, le=MOST)]


def _empty(value: Any) -> Any:
    return {} if value is None else value


def _parameters(value: Any) -> Any:
    """`parameters` may be plain scalars; Triton's are messages with a text inside."""
    if not isinstance(value, dict) or not isinstance(value.get("parameters"), dict):
        return value
    given = value["parameters"].items()
    texts = {n: v if isinstance(v, dict) else {"string_value": _text(v)} for n, v in given}
    return {**value, "parameters": texts}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return getattr(value, "text", None) or str(value)


class VersionSpec(Frozen):
    """What one version overrides. `"1.1": {}` takes every default."""

    precision: Precision | None = None
    recipe: Literal["default", "accurate"] = "default"
    weights: str | None = None
    weights_sha256: Sha256 | None = None
    tolerance: Tolerance = Tolerance()


class Batching(Frozen):
    """Dynamic batching. The delay costs latency in light traffic and buys throughput in heavy."""

    preferred: tuple[Batch, ...] = ()
    max_queue_delay: Duration = 0
    max_queue_size: Annotated[int, Field(ge=0, le=MOST)] = 0


class Latest(Frozen):
    """`serve: {latest: 2}`."""

    latest: Annotated[int, Field(ge=1, le=MOST)]


class Slo(Frozen):
    """What the model owes its callers; reported beside what was measured."""

    p99: Duration | None = None


class Building(Frozen):
    """What building takes. Serving is another matter.

    Attributes:
        memory: bytes that one action of this model may come to hold; nothing that would not fit
            beside it runs meanwhile.
    """

    memory: Size | None = None


class Gpu(Frozen):
    """What counts on gpu targets alone; what it comes to is `builder.triton.optimization`'s.

    Attributes:
        accelerator: which of ONNX Runtime's runs the graph; what the target says if None.
        cuda_graphs: shapes that a plan is captured at, each a size of every dimension that varies;
            True for the batch sizes that are likely, where nothing else varies.
    """

    accelerator: Literal["tensorrt", "none"] | None = None
    cuda_graphs: bool | tuple[dict[str, Batch], ...] = False


class Accuracy(Frozen):
    """A gate on real labels, asked of the live server.

    Attributes:
        data: function giving ({input: all rows}, labels as int64 [rows]).
        output: the output whose largest element is the answer.
        top1: least share of right answers, by precision.
    """

    data: Function
    output: str
    top1: dict[Precision, Annotated[float, Field(ge=0, le=1)]]


class ModelSpec(Frozen):
    """One model."""

    name: Name
    description: str = ""
    format: Literal["python"] | None = None
    source: str
    samples: Function
    reference: Function | None = None
    files: Function | None = None
    packages: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    task: str = "other"
    weights: str | None = None
    weights_sha256: Sha256 | None = None
    inputs: Annotated[dict[str, Tensor], Field(min_length=1)]
    outputs: Annotated[dict[str, Tensor], Field(min_length=1)]
    dims: dict[str, Dim] = Field(default_factory=dict)
    versions: Annotated[
        dict[Version, Annotated[VersionSpec, BeforeValidator(_empty)]], Field(min_length=1)
    ]
    serve: Literal["all"] | Latest | tuple[Version, ...] = "all"
    batching: Batching | Literal[False] = Batching()
    instances: Annotated[int, Field(ge=1, le=MOST)] | None = None
    timeout: Duration | None = None
    warmup: tuple[Batch, ...] = (1,)
    tolerance: Tolerance = Tolerance()
    accuracy: Accuracy | None = None
    slo: Slo = Slo()
    build: Building = Building()
    gpu: Gpu = Gpu()
    config: Annotated[dict[str, Any], BeforeValidator(_parameters)] = Field(default_factory=dict)

    @property
    def batched(self) -> bool:
        """Whether Triton batches requests of this model."""
        return is_batched(self.inputs, self.outputs)

    @property
    def max_batch(self) -> int:
        """Triton's max_batch_size; 0 where the model takes no batch."""
        return self.dims[BATCH].max if self.batched else 0

    @property
    def instance_count(self) -> int:
        """Instances of each version: what the author says, else one.

        A queue timeout takes two: with one, Triton 24.10's batcher may miss a lone request for
        500 ms (docs/decisions/0008-timeouts-take-two-instances.md).
        """
        timed = self.timeout is not None and self.batched and bool(self.batching)
        return self.instances or (2 if timed else 1)

    @property
    def varying(self) -> tuple[str, ...]:
        """The dimensions of its inputs that have more than one size; the batch is none."""
        named = dict.fromkeys(size for t in self.inputs.values() for size in t.shape)
        skipped = BATCH if self.batched else None
        return tuple(
            name
            for name in named
            if isinstance(name, str)
            and name != skipped
            and name in self.dims
            and self.dims[name].min < self.dims[name].max
        )

    @property
    def served(self) -> tuple[str, ...]:
        """The versions that the policy serves, lowest first. Only these are built."""
        ordered = sorted(self.versions, key=number)
        if isinstance(self.serve, Latest):
            return tuple(ordered[-self.serve.latest :])
        return tuple(v for v in ordered if self.serve == "all" or v in self.serve)

    def precision(self, version: str, device: str) -> Precision:
        """A version's precision: its own, or the default of task and device."""
        declared = self.versions[version].precision
        if declared:
            return declared
        if self.format == "python":
            return "fp32"
        if self.task == "text":
            return "int8"
        return "fp16" if device == "gpu" else "fp32"

    def weights_of(self, version: str) -> tuple[str, str | None] | None:
        """The weights file of a version, with the digest it must have."""
        own = self.versions[version]
        if own.weights:
            return own.weights, own.weights_sha256
        return (self.weights, self.weights_sha256) if self.weights else None
