"""A release is tried before anybody sees it: its models under other names, in the same server.

What was not proven on this server before is loaded beside what is served, asked what would warm it
up, asked its probes, and unloaded. A model that does not load, never ends loading, crashes its
process or answers wrongly is found out here, while clients are answered by the old release.

Warm-up is asked for by requests, and not left to Triton's own at load: on 24.10 one load in seven
whose warm-up fails, and two in five where there are two instances, take the whole server down (a
thread still uses the instance that is being destroyed). A request that fails does not.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.agent import plan as plans
from builder.agent import warmup as warmups
from builder.agent.home import REHEARSAL, link
from builder.agent.refused import RefusedReleaseError, short
from builder.agent.tree import CONFIG, config
from builder.agent.triton import BUSY, UNAVAILABLE, HangingError
from builder.errors import BuilderError
from builder.servers.endpoint import RefusedError, UnreachableError
from builder.triton import probe as probes
from builder.triton import text, wire

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from builder.agent.home import Home
    from builder.agent.tree import Model, Tree
    from builder.agent.triton import Triton
    from builder.agent.warmup import Warmup

UNLOADED = 30.0
"""Seconds that a rehearsed model may take to be gone."""
TICK = 0.05


class Rehearsal:
    """Tries what is new in a release.

    Args:
        home: where it lies.
        triton: where it is tried.
        load_within: seconds that a load may take.
        answer_within: seconds that an answer may take.
        say: told in a line what goes on.
    """

    def __init__(
        self,
        home: Home,
        triton: Triton,
        *,
        load_within: float,
        answer_within: float,
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._triton = triton
        self._load_within = load_within
        self._answer_within = answer_within
        self._say = say

    def run(
        self, tree: Tree, served: Mapping[str, Model], changed: Collection[str], known: set[str]
    ) -> None:
        """Tries all versions that are new.

        Args:
            tree: the release; its folder is not DIR.
            served: what is served now under its own names.
            changed: the models that differ from that.
            known: proofs of what was found good before.

        Raises:
            RefusedReleaseError: it fails; nothing of it is left in DIR.
            UnreachableError: the server is away, before anything was tried.
        """
        server, done = self._triton.version(), set(known)
        for group in plans.groups(tree.models, changed):
            proofs = {
                (model, number): plans.proof(server, tree.models, model, number)
                for model in group
                for number in tree.models[model].versions
            }
            new = {place for place, proof in proofs.items() if proof not in done}
            cast = plans.casting(group, tree.models, served, new)
            if cast:
                self._group(tree, [m for m in group if m in cast], cast, new)
            done |= set(proofs.values())

    def _group(
        self,
        tree: Tree,
        group: Sequence[str],
        cast: Mapping[str, set[int]],
        new: set[tuple[str, int]],
    ) -> None:
        token = secrets.token_hex(3)
        names = {model: f"{model}{REHEARSAL}{token}" for model in group}
        loaded: list[str] = []
        try:
            for model in group:
                numbers = sorted(cast[model])
                self._say(f"rehearsing {model} {', '.join(map(str, numbers))}")
                self._load(tree, model, names, numbers, loaded)
                asked = [number for number in numbers if (model, number) in new]
                self._ask(tree, model, names[model], asked)
        except UnreachableError as e:
            self._home.dismiss()  # before anything else: whoever starts the server anew, starts DIR
            raise RefusedReleaseError(
                "died", f"the server died while {', '.join(group)} was rehearsed: {e}"
            ) from e
        else:
            self._unload(loaded)
            self._gone(loaded)
            loaded.clear()
        finally:
            self._unload(loaded)
            self._home.dismiss()

    def _load(
        self,
        tree: Tree,
        model: str,
        names: Mapping[str, str],
        numbers: Sequence[int],
        loaded: list[str],
    ) -> None:
        name = names[model]
        write(tree.folder / model, self._home.rehearsal / name, name, numbers, names)
        self._home.admit(name)
        try:
            self._triton.load(name, self._load_within)
        except RefusedError as e:
            raise RefusedReleaseError("load", f"{model} does not load: {short(e.message)}") from e
        except HangingError as e:
            raise RefusedReleaseError("hang", f"{model} does not end loading: {e}") from e
        loaded.append(name)

    def _ask(self, tree: Tree, model: str, name: str, numbers: Sequence[int]) -> None:
        """Warms versions up, and asks their probes."""
        folder = tree.folder / model
        for number in numbers:
            path = probes.path(name, number)
            for warmup in warmups.requests(folder, config(folder)):
                self._warm(model, path, warmup)
            wrong = self._wrong(tree, model, number, path)
            if wrong:
                raise RefusedReleaseError("probe", f"{model} {number}: {wrong}")

    def _warm(self, model: str, path: str, warmup: Warmup) -> None:
        headers = {wire.HEADER: str(warmup.header)}
        patience = time.monotonic() + BUSY
        while True:
            try:
                self._triton.endpoint.call(
                    "POST", path, warmup.body, headers=headers, timeout=self._load_within
                )
                break
            except RefusedError as e:
                if not e.busy or time.monotonic() > patience:
                    raise RefusedReleaseError(
                        "warm-up", f"{model}, warm-up {warmup.name}: {short(e.message)}"
                    ) from e
            except UnreachableError as e:
                if not self._triton.live():
                    raise
                raise RefusedReleaseError(
                    "warm-up", f"{model}, warm-up {warmup.name}: no answer: {e}"
                ) from e

    def _wrong(self, tree: Tree, model: str, number: int, path: str) -> str | None:
        try:
            asked = tree.probe(model, number)
            return self._triton.differs(replace(asked, path=path), self._answer_within)
        except RefusedError as e:
            return short(e.message)
        except BuilderError as e:
            return e.problem
        except UnreachableError as e:
            if not self._triton.live():
                raise
            return f"no answer: {e}"

    def _unload(self, names: Sequence[str]) -> None:
        """Has models unloaded, callers first; what remains, the agent's loop finds."""
        for name in reversed(names):
            with contextlib.suppress(RefusedError, HangingError, UnreachableError):
                self._triton.unload(name)

    def _gone(self, names: Sequence[str]) -> None:
        """Waits until the memory of models is free again, for those that come next."""
        deadline = time.monotonic() + UNLOADED
        with contextlib.suppress(UnreachableError, RefusedError):
            while time.monotonic() < deadline:
                index = self._triton.index()
                states = {state for name in names for state in index.get(name, {}).values()}
                if states <= {UNAVAILABLE}:
                    break
                time.sleep(TICK)


def write(
    source: Path, target: Path, name: str, numbers: Sequence[int], members: Mapping[str, str]
) -> None:
    """Writes a model under another name, with some of its versions.

    Args:
        source: its folder in a release's tree.
        target: its other folder.
        name: its other name.
        numbers: the versions.
        members: other names of models that it may call.
    """
    kept = {str(number) for number in numbers}
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name == CONFIG or path.name.startswith(probes.PREFIX):
            continue
        if path.name in kept or not path.name.isdigit():
            link(path, target / path.name)
    said = text.renamed(config(source), name, numbers, members)
    (target / CONFIG).write_text(said, encoding="utf-8")
