"""What a move has to do, and in which order. Pure.

Members are loaded before the ensembles that call them, and an ensemble finds its members when it
is asked, not when it is loaded. So a version that a new release drops must stay for as long as an
ensemble that calls it is served: it is kept until its last caller has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from builder.plan.action import digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from builder.agent.tree import Model

    Models = Mapping[str, Model]


@dataclass(frozen=True)
class Plan:
    """The steps of a move.

    Attributes:
        load: models that are new or other ones, members first.
        kept: versions that go, by model, but are called until all of `load` is loaded.
        asked: models whose answers may be others now, members first.
        gone: models that are no more, callers first.
    """

    load: tuple[str, ...]
    kept: Mapping[str, frozenset[int]]
    asked: tuple[str, ...]
    gone: tuple[str, ...]


def plan(target: Models, served: Sequence[Models]) -> Plan:
    """How a server gets to a target.

    Args:
        target: what it shall serve.
        served: what it may serve now: more than one where that is not known.
    """
    changed = {
        name
        for name, model in target.items()
        if any(_differs(models.get(name), model) for models in served)
    }
    before: dict[str, Model] = {}
    kept: dict[str, set[int]] = {}
    for models in served:
        before |= models
        for caller in models.values():
            for name, number in caller.pins:
                member, had = target.get(name), models.get(name)
                if member and had and number in had.versions and number not in member.versions:
                    kept.setdefault(name, set()).add(number)
    asked = {
        name
        for name, model in target.items()
        if any(name in models and models[name].probes != model.probes for models in served)
    }
    gone = [name for name in reversed(order(before, before)) if name not in target]
    return Plan(
        load=tuple(order(target, changed)),
        kept={name: frozenset(numbers) for name, numbers in kept.items()},
        asked=tuple(order(target, above(target, changed) | asked)),
        gone=tuple(gone),
    )


def order(models: Models, names: Collection[str]) -> list[str]:
    """Some of the models, members before those that call them; else by name."""
    graph = {name: sorted(models[name].members & models.keys()) for name in sorted(models)}
    return [name for name in TopologicalSorter(graph).static_order() if name in names]


def above(models: Models, names: Collection[str]) -> set[str]:
    """Models, and all that call them, directly or not."""
    found = set(names)
    for name in order(models, models):
        if models[name].members & found:
            found.add(name)
    return found


def groups(models: Models, names: Collection[str]) -> list[list[str]]:
    """What must be loaded together to be tried: an ensemble with its members, of the named ones.

    Each group is in the order in which it is loaded. An ensemble of ensembles is one group with
    all below it; what no ensemble calls is a group of its own.
    """
    called = {member for name in names for member in models[name].members}
    return [
        order(models, _below(models, name) & set(names))
        for name in order(models, names)
        if name not in called
    ]


def _below(models: Models, name: str) -> set[str]:
    found, todo = set[str](), [name]
    while todo:
        one = todo.pop()
        if one in models and one not in found:
            found.add(one)
            todo += models[one].members
    return found


def _differs(before: Model | None, now: Model) -> bool:
    return before is None or before.served != now.served


def casting(
    group: Sequence[str], models: Models, served: Models, new: Collection[tuple[str, int]]
) -> dict[str, set[int]]:
    """Which versions of a group must be loaded under other names, to try those that are new.

    These, and the members that an ensemble among them calls, unless the very same are served.
    """
    found: dict[str, set[int]] = {}
    for name in reversed(group):
        numbers = {number for model, number in new if model == name} | found.get(name, set())
        if not numbers:
            continue
        found[name] = numbers
        for member, number in models[name].pins:
            own, live = models.get(member), served.get(member)
            same = own and live and own.versions.get(number) == live.versions.get(number)
            if member in group and not same:
                found.setdefault(member, set()).add(number)
    return found


def proofs(server: str, models: Models) -> set[str]:
    """All that is proven where a server answers rightly for these models."""
    return {
        proof(server, models, name, number)
        for name, model in models.items()
        for number in model.versions
    }


def proof(server: str, models: Models, name: str, number: int) -> str:
    """What a version is that was proven: its own bytes, its members', and the server."""
    own = models[name]
    members = sorted(
        proof(server, models, member, pinned)
        for member, pinned in own.pins
        if member in models and pinned in models[member].versions
    )
    return digest([server, own.versions[number], members])[:32]
