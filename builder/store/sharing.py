"""Giving results to the remote cache, while the build goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.plan.evaluate import Record
    from builder.store.store import Store

AT_ONCE = 4
"""Results on their way at the same time; each may have several blobs."""


class Sharing:
    """Uploads of one build. Nothing here fails a build: the remote itself warns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool: ThreadPoolExecutor | None = None
        self._given: list[Future[None]] = []

    def give(self, record: Record) -> None:
        """Has a result uploaded, soon."""
        remote = self._store.remote
        here = not self._store.absent(record.outputs)  # else it came from there
        if here and remote and not remote.read_only and remote.alive:
            self._pool = self._pool or ThreadPoolExecutor(AT_ONCE, "share")
            self._given.append(self._pool.submit(self._store.share, record))

    def finish(self, say: Callable[[str], None]) -> None:
        """Waits until everything is there."""
        left = [future for future in self._given if not future.done()]
        if left:
            say(f"uploading {len(left)} result{'s' if left[1:] else ''} to the remote cache")
        wait_for(left)
        for future in self._given:
            future.result()

    def stop(self) -> None:
        """Gives up what has not begun."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
