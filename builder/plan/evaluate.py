"""What of a graph is already done, and why the rest is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from builder.plan.action import Action, digest, why
from builder.plan.frontier import Frontier

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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
        memory: bytes that the worker held at most meanwhile.
    """

    key: str
    outputs: Mapping[str, tuple[str, int]]
    facts: Mapping[str, Any]
    reads: Mapping[str, str]
    ingredients: Mapping[str, Any]
    seconds: float = 0.0
    memory: int = 0

    @property
    def digest(self) -> str:
        """Names the output's content: what actions downstream depend on."""
        return digest({path: sha for path, (sha, _) in self.outputs.items()})


@dataclass(frozen=True)
class Last:
    """The last result of an action, under whatever key it had then.

    Attributes:
        record: None where it is no longer in the store.
    """

    key: str
    record: Record | None


class Memory(Protocol):
    """What is remembered of earlier builds."""

    def expect(self, keys: Collection[str]) -> None:
        """These will be asked for next: a memory far away fetches them at once."""

    def find(self, key: str) -> Record | None:
        """The record of a key whose discovered reads still have the digests they had."""

    def last(self, action: str) -> Last | None:
        """What is known of the action with that id from the last build, hit or not."""

    def stale(self, key: str) -> str | None:
        """For a key that has records, none of which holds: the read that changed."""


@dataclass(frozen=True)
class Question:
    """An action whose inputs are all there, and the key to ask for.

    Attributes:
        ingredients: what the key is made of.
    """

    action: Action
    ingredients: Mapping[str, Any]
    key: str


@dataclass(frozen=True)
class Decision:
    """Hit or miss, and why.

    Attributes:
        question: None while an input is still to be made.
        record: the result, for a hit.
        reason: one line, for a miss.
    """

    action: Action
    question: Question | None
    record: Record | None
    reason: str

    @property
    def hit(self) -> bool:
        """Whether nothing is to be done."""
        return self.record is not None

    @property
    def key(self) -> str | None:
        """The action's key, where it is known."""
        return self.question.key if self.question else None


def ask(action: Action, files: Mapping[str, str], done: Mapping[str, Record]) -> Question:
    """What to ask for an action whose inputs are done.

    Args:
        action: the action.
        files: digest by project file.
        done: records by id of action.
    """
    given = {label: done[id_].digest for label, id_ in action.inputs.items()}
    ingredients = action.ingredients(files, given)
    return Question(action, ingredients, digest(ingredients))


def decide(question: Question, memory: Memory) -> Decision:
    """Hit or miss."""
    record = memory.find(question.key)
    reason = "" if record else _reason(question, memory)
    return Decision(question.action, question, record, reason)


def _reason(question: Question, memory: Memory) -> str:
    changed = memory.stale(question.key)
    if changed:
        return f"{changed} changed"
    last = memory.last(question.action.id)
    if last is None:
        return "never built"
    if last.record is None or last.key == question.key:
        return "its result is no longer in the store"
    return why(last.record.ingredients, question.ingredients)


def evaluate(graph: Graph, files: Mapping[str, str], memory: Memory) -> list[Decision]:
    """Decides on every action of a graph, inputs first.

    An action whose input is still to be made may yet turn out to be a hit (the input may come
    out as it was); it is listed as a miss that waits.
    """
    frontier, done = Frontier(graph.actions), dict[str, Record]()
    found: dict[str, Decision] = {}
    while actions := frontier.take():
        questions = [ask(action, files, done) for action in actions]
        memory.expect([question.key for question in questions])
        for question in questions:
            decision = decide(question, memory)
            found[decision.action.id] = decision
            if decision.record:
                done[decision.action.id] = decision.record
                frontier.done(decision.action.id)
    return [found.get(id_) or _waits(action, done) for id_, action in graph.actions.items()]


def _waits(action: Action, done: Mapping[str, Record]) -> Decision:
    waits = dict.fromkeys(name for name in action.inputs.values() if name not in done)
    return Decision(action, None, None, f"waits for {', '.join(waits)}")
