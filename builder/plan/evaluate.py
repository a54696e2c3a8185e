"""What of a graph is already done, and why the rest is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from builder.plan.action import Action, digest, why

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.plan.graph import Graph


@dataclass(frozen=True)
class Record:
    """The result of an action that was done.

    Attributes:
        key: the action's key.
        outputs: file → (sha256, size in bytes), relative to the output folder.
        facts: what the stage told beside its files: figures, the way it took.
        reads: files and distributions that were found out to be read, with their digests then.
        ingredients: what the key was made of.
        seconds: how long it took.
    """

    key: str
    outputs: Mapping[str, tuple[str, int]]
    facts: Mapping[str, Any]
    reads: Mapping[str, str]
    ingredients: Mapping[str, Any]
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Names the output's content: what actions downstream depend on."""
        return digest({path: sha for path, (sha, _) in self.outputs.items()})


class Memory(Protocol):
    """What is remembered of earlier builds."""

    def find(self, key: str) -> Record | None:
        """The record of a key whose discovered reads still have the digests they had."""

    def last(self, action: str) -> Mapping[str, Any] | None:
        """The ingredients of the last run of the action with that id, hit or not."""

    def stale(self, key: str) -> str | None:
        """For a key that has records, none of which holds: the read that changed."""


@dataclass(frozen=True)
class Decision:
    """Hit or miss, and why.

    Attributes:
        key: None while an input is still to be made.
        record: the result, for a hit.
        reason: one line, for a miss.
    """

    action: Action
    key: str | None
    record: Record | None
    reason: str

    @property
    def hit(self) -> bool:
        """Whether nothing is to be done."""
        return self.record is not None


def decide(
    action: Action,
    files: Mapping[str, str],
    inputs: Mapping[str, Record],
    memory: Memory,
) -> tuple[Decision, dict[str, Any]]:
    """Decides on one action whose inputs are all there; gives its ingredients too."""
    given = {label: inputs[id_].digest for label, id_ in action.inputs.items()}
    ingredients = action.ingredients(files, given)
    key = digest(ingredients)
    record = memory.find(key)
    reason = ""
    if record is None:
        changed = memory.stale(key)
        reason = f"{changed} changed" if changed else why(memory.last(action.id), ingredients)
    return Decision(action, key, record, reason), ingredients


def evaluate(graph: Graph, files: Mapping[str, str], memory: Memory) -> list[Decision]:
    """Decides on every action of a graph, inputs first.

    An action whose input is still to be made may yet turn out to be a hit (the input may come
    out as it was); it is listed as a miss that waits.
    """
    done: dict[str, Record] = {}
    decisions = []
    for id_, action in graph.actions.items():
        waits = [name for name in action.inputs.values() if name not in done]
        if waits:
            reason = f"waits for {', '.join(waits)}"
            decisions.append(Decision(action, None, None, reason))
            continue
        decision, _ = decide(action, files, done, memory)
        if decision.record:
            done[id_] = decision.record
        decisions.append(decision)
    return decisions
