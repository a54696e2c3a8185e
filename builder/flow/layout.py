"""The new tree: what the last build had is laid out while actions run, the rest after.

Of a thousand models mostly one has changed. Its own actions take about as long as seeing to the
other 999, which the repository's spare tree mostly has already.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache, cached_property
from typing import TYPE_CHECKING

from builder.errors import BuilderError, WorkFailedError
from builder.files import Seen, disk_errors, remove
from builder.repository import swap
from builder.repository.tree import Usual, lay
from builder.store.blobs import DamagedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from builder.flow.context import Context
    from builder.repository.manifest import Manifest, ModelEntry


class Layout:
    """A tree beside the repository.

    Args:
        context: the project, and the store that files come from.
        before: what the last build had; None where there was none.
        stack: left when the build ends.
    """

    def __init__(self, context: Context, before: Manifest | None, stack: ExitStack) -> None:
        self._context = context
        self._before = before.models if before else {}
        self._stack = stack.enter_context(ExitStack())
        self._ahead: Future[None] | None = None
        self._laid: dict[str, ModelEntry] = {}
        self._asked: dict[str, ModelEntry] = {}
        self._linked = True
        self._stop = threading.Event()

    def begin(self) -> None:
        """Begins with what the last build had; returns at once."""
        if self._ahead is None:
            _ = self._tree
            pool = self._stack.enter_context(ThreadPoolExecutor(1, "layout"))
            self._stack.callback(self._stop.set)  # before the pool waits for its thread
            self._ahead = pool.submit(self._go_ahead)

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
        self.begin()
        if self._ahead:
            self._ahead.result()
        asked = self._asked = {**kept, **built}
        left = dict(asked)
        for model, entry in self._laid.items():
            if model in asked and _same_files(asked[model], entry):
                del left[model]
            else:
                remove(self._tree / model)  # made anew: a server that polls looks at its time
        self._give({m: e for m, e in left.items() if m in built})
        for model, entry in left.items():
            if model not in built:
                self._lay(model, self._kept(model, entry))
        return self._tree

    def leave(self) -> None:
        """What lies there now, once the tree was swapped in, becomes the spare, or goes.

        Where nothing does, since this was the first build, a second tree of the same files is
        laid out: the first change is to be as quick as those after it.
        """
        if self._linked and not self._tree.exists():
            self._tree.mkdir()
            for model, entry in self._asked.items():
                path = self._context.store.blobs.path
                self._lay(model, {name: Seen.at(path(sha)) for name, (sha, _) in entry.tree()})
        self._stack.close()

    @cached_property
    def _tree(self) -> Path:
        staged = swap.staging(self._context.repository, lambda: self._linked)
        return self._stack.enter_context(staged)

    @cached_property
    def _usual(self) -> Usual:
        return Usual.below(self._tree)

    def _go_ahead(self) -> None:
        """Lays out what the store has of the last build; whatever fails is left for later."""
        before = {m: e for m, e in self._before.items() if _plain(m, e)}
        for name in os.listdir(self._tree):  # noqa: PTH208 - names are all that is needed
            if name not in before:
                remove(self._tree / name)
        seen = cache(self._context.store.blobs.seen)  # models have files in common
        tree, usual = self._tree, self._usual
        for model, entry in before.items():
            if self._stop.is_set():
                return
            try:
                files = {name: seen(sha) for name, (sha, _) in entry.tree()}
                self._linked &= lay(tree / model, files, usual)
            except (DamagedError, BuilderError, OSError):
                remove(tree / model)
            else:
                self._laid[model] = entry

    def _lay(self, model: str, files: Mapping[str, Seen]) -> None:
        with disk_errors(self._tree):
            self._linked &= lay(self._tree / model, files, self._usual)

    def _give(self, models: Mapping[str, ModelEntry]) -> None:
        store = self._context.store
        damaged: list[DamagedError] = []
        try:
            store.fetch({f"{m}/{n}": out for m, e in models.items() for n, out in e.tree()})
        except DamagedError as e:
            damaged.append(e)
        for model, entry in models.items():
            files = {}
            for name, (digest, _) in entry.tree():
                try:
                    files[name] = store.blobs.seen(digest)
                except DamagedError as e:
                    damaged.append(e)
            if not damaged:
                self._lay(model, files)
        if damaged:
            raise damaged[0]

    def _kept(self, model: str, entry: ModelEntry) -> dict[str, Seen]:
        """A model's files as they lie in the repository, if they are what they were."""
        context = self._context
        files = {}
        for name, output in entry.tree():
            place = context.repository / model / name
            if context.store.files.of(place) == output[0] and not place.is_symlink():
                files[name] = Seen.at(place)
                continue
            try:
                files[name] = Seen.at(context.store.file(output))
            except DamagedError as e:
                raise WorkFailedError(
                    "a file was changed or removed since it was built",
                    where=f"{context.target_name}/{model}/{name}",
                    fix="build everything: triton-builder build",
                ) from e
        return files


def _same_files(one: ModelEntry, other: ModelEntry) -> bool:
    return one == other or list(one.tree()) == list(other.tree())


def _plain(model: str, entry: ModelEntry) -> bool:
    """Whether all of a model's files lie in its folder: somebody may have edited the manifest."""
    names = [f"/{name}/" for name, _ in entry.tree()]
    apart = any("//" in name or "/../" in name for name in names)
    return "/" not in model and model not in ("", ".", "..") and not apart
