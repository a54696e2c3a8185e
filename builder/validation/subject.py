"""What is put before a live server: a built model with its versions and their goldens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from builder.spec.tensor import Dim, Tensor
    from builder.spec.tolerance import OutputTolerance, Precision
    from builder.stages.goldens import Golden
    from builder.triton.probe import Probe

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class AccuracyGate:
    """Held-out examples, and how many of them the live server must get right.

    Attributes:
        inputs: arrays by input name, every row an example.
        labels: the right class of every row, integers.
        output: the output whose largest element along its last axis is the predicted
            class; an integer output holds the class itself.
        top1: least share of right predictions.
    """

    inputs: Mapping[str, Array]
    labels: Array
    output: str
    top1: float


@dataclass(frozen=True)
class VersionSubject:
    """One version of a model, as the author names it and as Triton does.

    Attributes:
        probe: what lies in the tree for anybody to ask; None where the tree is not the builder's.
    """

    version: str
    number: int
    precision: Precision
    goldens: tuple[Golden, ...]
    tolerance: Mapping[str, OutputTolerance]
    accuracy: AccuracyGate | None = None
    probe: Probe | None = None


@dataclass(frozen=True)
class Subject:
    """One Triton model under test.

    Attributes:
        name: as in the repository.
        config: the text of the config.pbtxt that was built.
        inputs: as the spec declares them; goldens have these shapes.
        outputs: likewise.
        dims: the sizes that named dimensions may take.
        batched: whether the first dimension is the batch.
        max_batch: the greatest batch; meaningless where not batched.
        versions: those that must be served, in order.
        default: the number that answers a request which asks for none.
        timeout_us: the queue timeout; None where requests wait for ever.
        warmup: the batch sizes that are warmed; empty for ensembles.
        ensemble: whether Triton itself runs it, out of members.
        members: the models that must be loaded before it.
        on_gpu: its folder, where what lies in its versions is loaded onto GPUs: graphs and plans.
    """

    name: str
    config: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    dims: Mapping[str, Dim]
    batched: bool
    max_batch: int
    versions: tuple[VersionSubject, ...]
    default: int
    timeout_us: int | None = None
    warmup: tuple[int, ...] = ()
    ensemble: bool = False
    members: tuple[str, ...] = ()
    on_gpu: Path | None = None


def in_load_order(subjects: Sequence[Subject]) -> list[Subject]:
    """Members before the ensembles that use them; otherwise as given.

    Members that are not subjects themselves are left to the server, which loads the
    members of an ensemble with it.
    """
    by_name = {s.name: s for s in subjects}
    ordered: dict[str, Subject] = {}

    def visit(subject: Subject, above: tuple[str, ...]) -> None:
        if subject.name in ordered or subject.name in above:
            return
        for member in subject.members:
            if member in by_name:
                visit(by_name[member], (*above, subject.name))
        ordered[subject.name] = subject

    for subject in subjects:
        visit(subject, ())
    return list(ordered.values())
