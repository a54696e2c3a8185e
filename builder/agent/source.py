"""Where releases come from: a port, and the release store behind it."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from builder.agent.refused import RefusedReleaseError
from builder.agent.state import Position
from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.files import remove_tree
from builder.release import pull
from builder.release.place import Place, disks, mark
from builder.remote.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from builder.release.store import Release, ReleaseStore
    from builder.repository.manifest import Manifest

ASKING = Limits(connect=3.0, answer=10.0, retries=2)
"""Of a question that is asked again in some seconds anyway."""


class Source(Protocol):
    """What an agent asks of a release store. All raise MissingError where it cannot be used.

    Attributes:
        channel: what is followed.
    """

    channel: str

    def position(self) -> Position:
        """Where the channel stands.

        Raises:
            InputError: there is no such channel.
        """
        ...

    def fetch(self, release: str, folder: Path) -> int:
        """Makes a release's tree, every byte verified; gives the bytes that came from the store.

        Args:
            release: its name.
            folder: where; what lies there is removed. Its manifest is written last.

        Raises:
            RefusedReleaseError: it is not what was published, or not signed.
            WorkFailedError: this machine's disk failed.
        """
        ...

    def settle(self) -> None:
        """The release that was fetched last now lies in DIR: what it does not need can go."""
        ...


class StoreSource:
    """A release store.

    Args:
        store: where it is.
        asked: the same, for questions that may soon be asked again.
        channel: what is followed.
        folder: DIR.
        cache: see `Place`.
        models: these only, with the members of ensembles; all if none.
        check: see `pull.Options`.
        say: told in a line what goes on.
    """

    def __init__(  # noqa: PLR0913 - what a pull is made of
        self,
        store: ReleaseStore,
        asked: ReleaseStore,
        channel: str,
        folder: Path,
        *,
        cache: Path | None = None,
        models: Collection[str] = (),
        check: Callable[[Release, bytes | None], None] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._asked = asked
        self.channel = channel
        self._folder = folder
        self._cache = cache
        self._models = models
        self._check = check
        self._say = say
        self._fetched: tuple[Release, Manifest] | None = None
        self._before: Manifest | None = None

    def position(self) -> Position:
        """See `Source`."""
        found, tag = asyncio.run(self._asked.channel(self.channel))
        return Position(found.release, str(tag))

    def fetch(self, release: str, folder: Path) -> int:
        """See `Source`."""
        remove_tree(folder)
        with disks(self._folder.parent):
            place = Place(self._folder, self._cache)
        try:
            with disks(self._folder.parent), place.claim(self._say):
                return asyncio.run(self._stage(release, place, folder))
        except (WorkFailedError, InputError) as e:
            if isinstance(e, MissingError) or _disk(e):
                raise
            text = f"{e.problem}, {e.where}" if e.where else e.problem
            raise RefusedReleaseError("pull", text) from e

    def settle(self) -> None:
        """See `Source`."""
        if self._fetched is None:
            return
        release, manifest = self._fetched
        with disks(self._folder.parent):
            place = Place(self._folder, self._cache)
            self._remember(place, release, manifest)
        self._before = manifest

    def _remember(self, place: Place, release: Release, manifest: Manifest) -> None:
        with place.claim(self._say):
            marks = {name: mark(place.folder / name) for name, _ in manifest.tree()}
            place.remember(release, manifest, marks)
            place.tidy(manifest, *([self._before] if self._before else []))

    async def _stage(self, name: str, place: Place, folder: Path) -> int:
        release = await pull.find(self._store, name, self._check)
        manifest = release.manifest
        if self._models:
            manifest = manifest.only(self._models)
        options = pull.Options(say=self._say)
        came = await pull.stage(self._store, release, manifest, place, folder, options)
        self._fetched = release, replace(manifest)
        return came


def _disk(error: BuilderError) -> bool:
    """Whether it was this machine's disk that failed, and not the release."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}
