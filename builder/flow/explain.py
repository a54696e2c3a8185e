"""One action in full: its key, all that the key is made of, and what is known of its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from builder.plan.evaluate import evaluate
from builder.spec.document import unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.flow.context import Context


def explain(context: Context, id_: str) -> dict[str, Any]:
    """Everything about one action of a plan, as JSON values.

    Raises:
        InputError: there is no such action.
    """
    decisions = {d.action.id: d for d in evaluate(context.graph, context.files, context.store)}
    if id_ not in decisions:
        raise unknown("action", id_, list(decisions), "--explain")
    decision = decisions[id_]
    record = decision.record
    return {
        "action": id_,
        "hit": decision.hit,
        "reason": decision.reason or None,
        "key": decision.key,
        "ingredients": dict(decision.question.ingredients) if decision.question else None,
        "needs": {k: v for k, v in vars(decision.action.needs).items() if v},
        "inputs": dict(decision.action.inputs),
        "reads": dict(record.reads) if record else None,
        "outputs": dict(record.outputs) if record else None,
        "facts": dict(record.facts) if record else None,
        "seconds": record.seconds if record else None,
        "memory": record.memory if record else None,
    }


def lines(value: Any, depth: int = 0) -> Iterator[str]:
    """JSON values as people read them: one a line, what is inside set in."""
    margin = "  " * depth
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for name, item in pairs:
        head = f"{margin}{name}:" if name is not None else f"{margin}-"
        if isinstance(item, dict | list | tuple) and item and not _flat(item):
            yield head
            yield from lines(item, depth + 1)
        elif item is not None:
            yield f"{head} {_inline(item)}"


def _flat(item: Any) -> bool:
    return isinstance(item, list | tuple) and not any(
        isinstance(i, dict | list | tuple) for i in item
    )


def _inline(item: Any) -> str:
    if isinstance(item, list | tuple):
        return ", ".join(str(i) for i in item)
    return str(item) if item != {} else "nothing"
