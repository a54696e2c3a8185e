"""The frontier of a graph: which actions can be decided on, now that others are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.plan.action import Action


class Frontier:
    """Counts what each action still waits for. Every action comes up once, after its inputs."""

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = actions
        self._dependents: dict[str, list[str]] = {id_: [] for id_ in actions}
        self._missing: dict[str, int] = {}
        for id_, action in actions.items():
            inputs = set(action.inputs.values())
            self._missing[id_] = len(inputs)
            for name in inputs:
                self._dependents[name].append(id_)
        self._open = [id_ for id_, count in self._missing.items() if count == 0]

    def take(self) -> list[Action]:
        """The actions that have come up since the last call."""
        found, self._open = self._open, []
        return [self._actions[id_] for id_ in found]

    def done(self, id_: str) -> None:
        """An action has its result: what waited for nothing else comes up."""
        for name in self._dependents[id_]:
            self._missing[name] -= 1
            if self._missing[name] == 0:
                self._open.append(name)

    def below(self, ids: Iterable[str]) -> set[str]:
        """These actions, and all that depend on them."""
        todo, found = list(ids), set[str]()
        while todo:
            id_ = todo.pop()
            if id_ not in found:
                found.add(id_)
                todo += self._dependents[id_]
        return found

    def reset(self, ids: Iterable[str], done: Iterable[str]) -> None:
        """Starts again with some actions and all that depend on them.

        Args:
            ids: the actions that must be decided on anew.
            done: the actions whose results stand.
        """
        anew, settled = self.below(ids), set(done)
        self._open = [id_ for id_ in self._open if id_ not in anew]
        for id_ in self._actions:
            if id_ in anew:
                inputs = set(self._actions[id_].inputs.values())
                self._missing[id_] = len(inputs - (settled - anew))
                if self._missing[id_] == 0:
                    self._open.append(id_)


def longest_paths(actions: Mapping[str, Action], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the start of each action to the end of the last that depends on it.

    Args:
        actions: a graph, inputs first, or what is left of one.
        seconds: how long each action is thought to take.
    """
    after = dict.fromkeys(actions, 0.0)
    total = {}
    for id_ in reversed(list(actions)):
        total[id_] = after[id_] + seconds[id_]
        for name in after.keys() & set(actions[id_].inputs.values()):
            after[name] = max(after[name], total[id_])
    return total
