"""What a check is given: one version on one live server, and how to ask it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from builder.spec.tolerance import OutputTolerance
from builder.stages.agreement import Agreement, compare
from builder.stages.goldens import Golden

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from builder.servers.server import Server
    from builder.spec.tensor import Tensor
    from builder.spec.tolerance import Precision
    from builder.validation.client import Answer, Client, Protocol, RefusedError
    from builder.validation.subject import Subject, VersionSubject

    Array = np.ndarray[Any, Any]
    Arrays = Mapping[str, Array]

COMPANY: Mapping[Precision, OutputTolerance] = {
    "fp32": OutputTolerance(cosine=0.99999, relative=2e-4, mismatch=0.0),
    "fp16": OutputTolerance(cosine=0.999, relative=0.03, mismatch=0.02),
    "int8": OutputTolerance(cosine=0.95, mismatch=0.1),
}
"""How far an answer given in a batch may lie from the lone one. Dynamic int8 takes one scale
for the whole batch, so batch-mates touch each other; in fp32 only the order of sums does."""

ATTEMPTS = 4
"""How often a request is sent that its queue timeout may reject: where there is one, 24.10's
batcher lets some requests wait 500 ms, on a busy machine as on an idle one."""


@dataclass(frozen=True)
class Case:
    """One version of one model under test."""

    server: Server
    client: Client
    subject: Subject
    version: VersionSubject

    @cached_property
    def config(self) -> Any:
        """The `ModelConfig` that was built."""
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2

        return text_format.Parse(self.subject.config, model_config_pb2.ModelConfig())

    @property
    def batches(self) -> bool:
        """Whether one request may hold several rows."""
        return self.subject.batched and self.subject.max_batch > 1

    def sent(self, arrays: Arrays) -> dict[str, Array]:
        """Inputs as they travel: Triton wants a dimension where a spec says `[batch]`."""
        extra = int(self.subject.batched)
        ranks = {i.name: len(i.dims) + extra for i in self.config.input}
        return {
            name: array[..., np.newaxis] if ranks.get(name) == array.ndim + 1 else array
            for name, array in arrays.items()
        }

    def received(self, outputs: Arrays) -> dict[str, Array]:
        """Outputs in the spec's shapes, without what `sent` adds."""
        return {
            name: _like(array, self.subject.outputs.get(name)) for name, array in outputs.items()
        }

    def ask(self, inputs: Arrays, *, protocol: Protocol = "grpc", numbered: bool = True) -> Answer:
        """One inference in the spec's shapes, by the version's number unless told otherwise."""
        from builder.validation.client import Answer, RefusedError

        number = self.version.number if numbered else None
        sent = self.sent(inputs)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self.client.infer(
                    self.subject.name, sent, version=number, protocol=protocol
                )
                break
            except RefusedError as refusal:
                if not self.excuses(refusal) or attempt == ATTEMPTS:
                    raise
        return Answer(self.received(answer.outputs), answer.version)

    def excuses(self, refusal: RefusedError) -> bool:
        """Whether a refusal is the queue timeout that the spec, or a member's, asked for."""
        return refusal.late and (self.subject.timeout_us is not None or self.subject.ensemble)

    def lone(self, golden: Golden) -> bool:
        """Whether a golden is a single request."""
        first = next(iter(golden.inputs.values()))
        return not self.subject.batched or first.shape[0] == 1

    def rows(self) -> list[Golden]:
        """The goldens as single requests: one row each where the model is batched."""
        if not self.subject.batched:
            return list(self.version.goldens)
        return [row for golden in self.version.goldens for row in _split(golden)]

    def alike(self, count: int) -> list[Golden]:
        """Up to `count` single requests of one shape, the commonest; distinct as far as they go.

        Only requests of equal shapes can share a batch; and where their answers' shapes differ
        (token ids, padded to the longest text), a batch's answer is not that of its rows. What
        shape a row's own answer has, only a golden of one row tells.
        """
        rows = self.rows()
        if any(isinstance(n, str) for t in self.subject.outputs.values() for n in t.shape[1:]):
            rows = [g for g in self.version.goldens if self.lone(g)] or rows
        shapes = [
            tuple(array.shape for side in (row.inputs, row.outputs) for array in side.values())
            for row in rows
        ]
        if not rows:
            return []
        ((shape, _),) = Counter(shapes).most_common(1)
        group = [row for row, own in zip(rows, shapes, strict=True) if own == shape]
        return [group[i % len(group)] for i in range(count)]

    def company(self) -> dict[str, OutputTolerance]:
        """Bounds between answers in company and alone: the precision's, or the spec's if looser."""
        base = COMPANY[self.version.precision]
        return {
            name: _looser(base, self.version.tolerance.get(name)) for name in self.subject.outputs
        }

    def agreement(
        self, expected: Arrays, actual: Arrays, bounds: Mapping[str, OutputTolerance]
    ) -> dict[str, Agreement]:
        """Compares every expected output; one that did not come at all disagrees."""
        missing = Agreement(-1.0, float("inf"), 1.0, "the answer does not hold this output")
        return {
            name: compare(array, actual[name], bounds.get(name, base), batched=self.subject.batched)
            if name in actual
            else missing
            for base in [OutputTolerance()]
            for name, array in expected.items()
        }


def first_reason(found: Mapping[str, Agreement]) -> str | None:
    """The first output out of bounds, and why; None if all are within."""
    return next((f"{name}: {a.reason}" for name, a in found.items() if a.reason), None)


def stacked(rows: Sequence[Golden]) -> dict[str, Array]:
    """The inputs of single requests as one batch."""
    return {name: np.concatenate([row.inputs[name] for row in rows]) for name in rows[0].inputs}


def worst(found: Iterable[Agreement]) -> dict[str, float]:
    """The least cosine and the greatest differences, for figures."""
    known = list(found)
    if not known:
        return {}
    return {
        "cosine": min(a.cosine for a in known),
        "relative": max(a.relative for a in known),
        "mismatch": max(a.mismatch for a in known),
    }


def _split(golden: Golden) -> list[Golden]:
    counts = {array.shape[0] for array in golden.inputs.values()}
    return [
        Golden(
            {name: array[i : i + 1] for name, array in golden.inputs.items()},
            {name: array[i : i + 1] for name, array in golden.outputs.items()},
        )
        for i in range(max(counts, default=0))
    ]


def _like(array: Array, declared: Tensor | None) -> Array:
    if declared is not None and array.ndim == len(declared.shape) + 1 and array.shape[-1:] == (1,):
        return array[..., 0]
    return array


def _looser(base: OutputTolerance, own: OutputTolerance | None) -> OutputTolerance:
    if own is None:
        return base
    return OutputTolerance(
        cosine=min(base.cosine or -1.0, own.cosine if own.cosine is not None else 1.0),
        relative=None if base.relative is None else max(base.relative, own.relative or 0.0),
        mismatch=max(base.mismatch or 0.0, own.mismatch or 0.0),
    )
