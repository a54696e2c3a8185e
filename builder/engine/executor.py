"""What the engine asks of whatever runs actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from builder.errors import BuilderError
from builder.plan.evaluate import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.plan.action import Action


@dataclass(frozen=True)
class Order:
    """An action with everything that a worker needs to do it.

    Attributes:
        ingredients: what the key is made of.
        inputs: the records of the inputs, by label.
        runtime: the interpreter that holds the target release's ONNX Runtime; whoever runs
            the stage `prove` fills it in.
    """

    action: Action
    key: str
    ingredients: Mapping[str, Any]
    inputs: Mapping[str, Record]
    runtime: Path | None = None


@dataclass(frozen=True)
class Damaged:
    """The answer to an order one of whose inputs is no longer whole.

    Attributes:
        digest: the blob that is corrupt, or gone.
    """

    digest: str


Answer = Record | BuilderError | Damaged


class Executor(Protocol):
    """Runs actions, several at once.

    Attributes:
        inputs_here: whether the blobs of an action's inputs must be on this disk before it starts.
    """

    inputs_here: bool

    def refuse(self, action: Action) -> BuilderError | None:
        """Why an action can never run here; None where it can."""

    def room(self, action: Action) -> bool:
        """Whether the action would start now."""

    def start(self, order: Order) -> str:
        """Starts an action; gives the lane that it runs in, for the trace: `worker 1`."""

    def wait(self, seconds: float | None) -> Sequence[tuple[Order, Answer]]:
        """The orders that were finished; waits for one, at most so long."""

    def stop(self) -> None:
        """Ends all that runs, at once, and leaves nothing behind."""
