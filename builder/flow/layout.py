"""The new tree: what the last build had is laid out while actions still run, the rest after.

Of a thousand models mostly one has changed. Its own actions take about as long as
laying out the other 999.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from builder.errors import BuilderError, WorkFailedError
from builder.files import link_or_copy, remove_tree
from builder.repository import swap
from builder.store.blobs import DamagedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from contextlib import ExitStack
    from pathlib import Path

    from builder.flow.context import Context
    from builder.repository.manifest import Manifest, ModelEntry


class Layout:
    """A tree beside the repository, gone when the stack is left unless it was swapped in.

    Args:
        context: the project, and the store that files come from.
        before: what the last build had; None where there was none.
        stack: left when the build ends.
    """

    def __init__(self, context: Context, before: Manifest | None, stack: ExitStack) -> None:
        self._context = context
        self._before = before
        self._stack = stack
        self._tree: Path | None = None
        self._ahead: Future[None] | None = None
        self._laid: dict[str, ModelEntry] = {}
        self._stop = threading.Event()

    def begin(self) -> None:
        """Begins with what the last build had; returns at once."""
        if self._before and self._ahead is None:
            tree = self._staged()
            pool = self._stack.enter_context(ThreadPoolExecutor(1, "layout"))
            self._stack.callback(self._stop.set)  # before the pool waits for its thread
            self._ahead = pool.submit(self._go_ahead, self._before, tree)

    def complete(self, built: Mapping[str, ModelEntry], kept: Mapping[str, ModelEntry]) -> Path:
        """Lays out everything that is not there yet, and removes what should not be.

        Args:
            built: the models of this build.
            kept: those of the last one that it does not touch.

        Returns:
            the tree.

        Raises:
            DamagedError: files in the store are corrupt, or could not be had; one of them. All
                of them are dropped.
            WorkFailedError: a file of a kept model was changed since.
        """
        tree = self._staged()
        if self._ahead:
            self._ahead.result()
        asked = {**kept, **built}
        left = dict(asked)
        for model, entry in self._laid.items():
            if model in asked and list(asked[model].tree()) == list(entry.tree()):
                del left[model]
            else:
                remove_tree(tree / model)
        self._give({m: e for m, e in left.items() if m in built}, tree)
        for model, entry in left.items():
            if model not in built:
                self._keep(model, entry, tree)
        return tree

    def _staged(self) -> Path:
        if self._tree is None:
            self._tree = self._stack.enter_context(swap.staging(self._context.repository))
        return self._tree

    def _go_ahead(self, before: Manifest, tree: Path) -> None:
        """Lays out what the store has of the last build; whatever fails is left for later."""
        for model, entry in before.models.items():
            if self._stop.is_set():
                return
            try:
                self._context.store.blobs.give(
                    {f"{model}/{name}": output for name, output in entry.tree()}, tree
                )
            except (DamagedError, BuilderError, OSError):
                remove_tree(tree / model)
            else:
                self._laid[model] = entry

    def _give(self, models: Mapping[str, ModelEntry], tree: Path) -> None:
        store = self._context.store
        files = {f"{m}/{name}": out for m, entry in models.items() for name, out in entry.tree()}
        damaged: list[DamagedError] = []
        try:
            store.fetch(files)
        except DamagedError as e:
            damaged.append(e)
        for name, output in files.items():
            try:
                store.blobs.give({name: output}, tree)
            except DamagedError as e:
                damaged.append(e)
        if damaged:
            raise damaged[0]

    def _keep(self, model: str, entry: ModelEntry, tree: Path) -> None:
        """Links a model's files as they lie in the repository, if they are what they were."""
        context = self._context
        for name, output in entry.tree():
            place = context.repository / model / name
            if context.store.files.of(place) == output[0]:
                link_or_copy(place, tree / model / name)
                continue
            try:
                context.store.give({f"{model}/{name}": output}, tree)
            except DamagedError as e:
                raise WorkFailedError(
                    "a file was changed or removed since it was built",
                    where=f"{context.target_name}/{model}/{name}",
                    fix="build everything: triton-builder build",
                ) from e
