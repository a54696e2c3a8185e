"""One move of a server: from what it serves to a tree, without a request lost on the way.

Triton loads a model beside the one that it serves and exchanges them in one step, and a request
keeps the model that it began with. What is left to the agent is the order (`plan.py`), and a bridge
where an ensemble goes over to another version of a member: for as long as the ensemble changes,
both versions are served.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.agent import plan as plans
from builder.agent import stamps
from builder.agent import tree as trees
from builder.agent.home import link
from builder.agent.refused import RefusedReleaseError, short
from builder.agent.triton import HangingError
from builder.errors import BuilderError
from builder.files import remove_tree
from builder.repository import manifest as manifests
from builder.servers.endpoint import RefusedError, UnreachableError
from builder.triton import text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from builder.agent.home import Home
    from builder.agent.tree import Tree
    from builder.agent.triton import Triton


class Switch:
    """Moves one server.

    Args:
        home: the folder that it serves.
        triton: the server.
        load_within: seconds that a load may take.
        answer_within: seconds that an answer may take.
        fresh: gives a stamp that no folder had yet.
        say: told in a line what goes on.

    Attributes:
        reached: models that were loaded, or may have been, since `forth` began.
        hanging: models whose load never ended; they can be neither loaded nor unloaded.
    """

    def __init__(  # noqa: PLR0913 - what a move needs, all by name
        self,
        home: Home,
        triton: Triton,
        *,
        load_within: float,
        answer_within: float,
        fresh: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self._home = home
        self._triton = triton
        self._load_within = load_within
        self._answer_within = answer_within
        self._fresh = fresh
        self._say = say
        self.reached: set[str] = set()
        self.hanging: set[str] = set()

    def put(self, tree: Tree) -> None:
        """Puts a tree into DIR without a server; all of it is loaded anew by whoever loads next."""
        self._place(tree, self._home.current(), again=tree.models)

    def forth(self, to: Tree, served: Tree) -> None:
        """Brings the server to a tree.

        Args:
            to: the tree, beside DIR; it lies in DIR afterwards.
            served: the one that the server serves, in DIR.

        Raises:
            RefusedReleaseError: a load failed, or an answer is wrong; `back` is the way back.
        """
        self.reached.clear()
        try:
            self._go(to, served, served)
        except UnreachableError as e:
            raise RefusedReleaseError("died", f"the server died while it was loaded: {e}") from e

    def back(self, to: Tree, other: Tree | None, reached: Collection[str] | None) -> None:
        """Brings the server back to a tree, from wherever a move to another has got.

        Args:
            to: the tree to serve again, beside DIR or in it.
            other: the one that the move was for, if it is still there.
            reached: what was loaded of that; None where nobody knows.

        Raises:
            RefusedReleaseError: the server does not serve it as it did; the tree is in place.
            UnreachableError: the server is gone; the tree is in place.
        """
        kept = () if reached is None else to.models.keys() - set(reached)
        if other is not None and self._triton.live():
            served = other if reached is None else other.only(reached).beside(to.only(kept))
            try:
                self._go(to, served, self._home.current(), left=kept, sure=reached is not None)
            except (RefusedReleaseError, UnreachableError) as e:
                self._say(f"the way back is not smooth: {e}")
            else:
                return
        self._bluntly(to, set(to.models) - set(kept))

    def _bluntly(self, to: Tree, models: Collection[str]) -> None:
        """Puts a tree in place and loads models of it, each as well as it goes."""
        here = self._home.current()
        if here is None or here.release != to.release:
            there = self._home.find(to.release) or to
            self._place(there, here, again=models)
        failed = []
        for model in plans.order(to.models, models):
            try:
                self.again(to.at(self._home.folder), [model])
            except RefusedReleaseError as e:
                failed.append(e.text)
        if failed:
            raise RefusedReleaseError("back", "; ".join(failed))

    def adopt(self, tree: Tree) -> None:
        """Has Triton take note of the members of ensembles in DIR, which nobody stamped yet.

        They were loaded out of a tree that `pull` made. Without it they would be loaded again, all
        of them, with the first ensemble that changes.

        Raises:
            RefusedReleaseError: one does not load, which it need not.
            UnreachableError: the server is gone.
        """
        called = {member for model in tree.models.values() for member in model.members}
        names = [
            name
            for name in plans.order(tree.models, called & tree.models.keys())
            if not stamps.stamped(tree.folder, name)
        ]
        fresh = self._fresh() if names else 0
        for name in names:
            stamps.adopt(tree.folder, name, fresh)
            self._load(name)

    def again(self, tree: Tree, models: Collection[str]) -> None:
        """Loads models of the tree in DIR anew, whether the server thinks that it must or not.

        Raises:
            RefusedReleaseError: one does not load.
            UnreachableError: the server is gone.
        """
        stamps.stamp(
            tree.folder, tree.models, (tree.folder, tree.models), self._fresh(), again=models
        )
        for model in plans.order(tree.models, models):
            self._load(model)

    def ask(self, tree: Tree, models: Collection[str]) -> None:
        """Asks the probes of models.

        Raises:
            RefusedReleaseError: one is not answered as it says.
            UnreachableError: the server is gone.
        """
        for model, wrong in self.wrong(tree, models).items():
            raise RefusedReleaseError("probe", f"{model} {wrong}")

    def wrong(self, tree: Tree, models: Collection[str]) -> dict[str, str]:
        """Asks the probes of models; what is wrong with those that do not answer as they say.

        Raises:
            UnreachableError: the server is gone.
        """
        found: dict[str, str] = {}
        for model in plans.order(tree.models, models):
            for number in sorted(tree.models[model].versions):
                try:
                    probe = tree.probe(model, number)
                    reason = self._triton.differs(probe, self._answer_within)
                except RefusedError as e:
                    reason = short(e.message)
                except BuilderError as e:
                    reason = e.problem
                except UnreachableError as e:
                    if not self._triton.live():
                        raise
                    reason = str(e)
                if reason:
                    found.setdefault(model, f"{number}: {reason}")
        return found

    # --- steps -------------------------------------------------------------------------

    def _go(
        self,
        to: Tree,
        served: Tree,
        there: Tree | None,
        *,
        left: Collection[str] = (),
        sure: bool = True,
    ) -> None:
        """The way from one tree to another.

        Args:
            to: the tree, beside DIR or in it.
            served: what the server serves.
            there: what lies in DIR.
            left: models that are served as `to` has them, and were all the time.
            sure: whether that is all that the server may serve.
        """
        plan = plans.plan(to.models, [served.models])
        again = () if sure else plan.load
        here = to.at(self._home.folder)
        if plan.kept:
            bridge = self._bridge(to, served, plan.kept)
            self._place(bridge, there, again=again, left=left)
            if to.folder == self._home.folder:
                to = to.at(self._home.place(to.release))
            there, again = bridge.at(self._home.folder), ()
            for model in plan.load:
                self._load(model)
            self.ask(here, plan.asked)
        self._place(to, there, again=again, left=left)
        for model in plans.order(to.models, plan.kept) if plan.kept else plan.load:
            self._load(model)
        self.ask(here, plan.kept or plan.asked)
        for model in plan.gone:
            if model not in self.hanging:
                with contextlib.suppress(RefusedError, HangingError):
                    self._triton.unload(model)

    def _place(
        self,
        tree: Tree,
        there: Tree | None,
        *,
        again: Collection[str] = (),
        left: Collection[str] = (),
    ) -> None:
        """Puts a tree into DIR, stamped for a server that knows the stamps of what is there."""
        before = (there.folder, there.models) if there else None
        stamps.stamp(tree.folder, tree.models, before, self._fresh(), again=again, left=left)
        if tree.folder != self._home.folder:
            self._home.put(tree.folder)

    def _load(self, model: str) -> None:
        if model in self.hanging:
            return
        self._say(f"loading {model}")
        try:
            self._triton.load(model, self._load_within)
            self.reached.add(model)
        except RefusedError as e:  # what it had is served on
            raise RefusedReleaseError("load", f"{model} does not load: {short(e.message)}") from e
        except HangingError as e:
            self.hanging.add(model)
            raise RefusedReleaseError("hang", f"{model} does not end loading: {e}") from e
        except UnreachableError:
            self.reached.add(model)
            raise

    def _bridge(self, to: Tree, served: Tree, kept: Mapping[str, Collection[int]]) -> Tree:
        """A tree with versions of two: all of the new one, and what the other's ensembles call."""
        folder = self._home.bridge
        remove_tree(folder)
        entries, models = dict(to.entries), dict(to.models)
        link(to.folder, folder)
        for name, numbers in kept.items():
            more = {v: e for v, e in served.entries[name].versions.items() if e.number in numbers}
            entries[name] = replace(entries[name], versions={**entries[name].versions, **more})
            every = sorted(v.number for v in entries[name].versions.values())
            said = text.keeping(trees.config(to.folder / name), every)
            config = folder / name / trees.CONFIG
            config.unlink()
            config.write_text(said, encoding="utf-8")
            for number in numbers:
                link(served.folder / name / str(number), folder / name / str(number))
            models[name] = trees.model(entries[name], said)
        manifest = folder / manifests.FILE
        value = {**json.loads(manifest.read_bytes()), "bridge": True}  # the manifest of no release
        manifest.unlink()
        manifest.write_text(json.dumps(value), encoding="utf-8")
        return trees.Tree(folder, "", entries, models)
