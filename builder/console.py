"""What a person sees while something runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from rich.progress import Progress, ProgressColumn, TaskID

    from builder.engine.run import Event


class _View:
    """Lines on standard error, and below them what moves, once there is such a thing.

    Standard output is for results.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress:
            self._progress.stop()

    def _print(self, text: str) -> None:
        if self._progress:
            self._progress.console.print(text, highlight=False, markup=False)
        else:
            print(self._plain(text), file=sys.stderr, flush=True)

    def _plain(self, text: str) -> str:
        """A line where nothing moves."""
        return text

    def _move(self, *columns: ProgressColumn | str) -> Progress:
        """Has something move from now on."""
        from rich.console import Console as Terminal
        from rich.progress import Progress

        self._progress = Progress(*columns, console=Terminal(stderr=True), transient=True)
        self._progress.start()
        return self._progress


class Console(_View):
    """Tells of a run."""

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, TaskID] = {}
        self._phase: TaskID | None = None
        self._total: TaskID | None = None
        self._hits = self._done = 0

    def say(self, text: str) -> None:
        """One line of news; on a terminal, with a clock that runs until the next."""
        self._print(text)
        if sys.stderr.isatty():
            progress = self._live()
            if self._phase is None:
                self._phase = progress.add_task("", total=None, reason="")
            progress.reset(self._phase, description=f"since: {text}")

    def warn(self, text: str) -> None:
        """One line of what is not as it should be, and does no harm."""
        self._print(f"warning: {text}")

    def _plain(self, text: str) -> str:
        return f"[{time.monotonic() - self._start:6.1f} s] {text}"

    def on_event(self, event: Event) -> None:
        """News of an action."""
        if event.kind == "hit":
            self._hits += 1
        if event.kind in ("hit", "miss"):
            return
        if sys.stderr.isatty():
            self._show(event)
        if event.kind == "start" and not sys.stderr.isatty():
            self._print(f"{event.action}: {event.reason}")
        elif event.kind == "done":
            self._print(f"{event.action}: done in {event.seconds:.1f} s{self._left(event)}")
        elif event.kind == "slow":
            self._print(f"{event.action}: still running after {event.seconds:.0f} s")
        elif event.kind == "mend":
            self._print(f"{event.action}: {event.reason}")
        elif event.kind == "fail":
            self._print(f"{event.action}: FAILED: {event.reason}")

    @staticmethod
    def _left(event: Event) -> str:
        return f", {event.left} left" if event.left else ""

    def _show(self, event: Event) -> None:
        """The live view: a line that counts, and one with a clock for each action that runs."""
        progress = self._live()
        if self._total is None:
            self._total = progress.add_task("", total=None, reason="")
        if event.kind == "start":
            expected = f"of about {event.expected:.0f} s  " if event.expected else ""
            task = progress.add_task(event.action, total=None, reason=expected + event.reason)
            self._tasks[event.action] = task
        elif event.kind in ("done", "fail") and event.action in self._tasks:
            progress.remove_task(self._tasks.pop(event.action))
            self._done += 1
        running = len(self._tasks)
        waiting = max(0, event.left - running)
        counts = f"{running} running, {waiting} to do, {self._done} done, {self._hits} hits"
        progress.update(self._total, description=counts)
        if not running and not waiting:
            progress.remove_task(self._total)
            self._total = None

    def _live(self) -> Progress:
        if self._progress:
            return self._progress
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        return self._move(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[reason]}"),
        )


class Bytes(_View):
    """Bytes that come or go: a bar on a terminal, a line every few seconds elsewhere.

    Args:
        verb: what is done with them: `uploading`.
    """

    EVERY = 5.0
    """Seconds between two lines."""

    def __init__(self, verb: str) -> None:
        super().__init__()
        self._verb = verb
        self._all = self._done = 0
        self._told = self._start

    def say(self, text: str) -> None:
        """One line of news."""
        self._print(text)

    def total(self, size: int) -> None:
        """How many there are."""
        self._all = size
        if not sys.stderr.isatty():
            return
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        progress = self._move(
            TextColumn(self._verb),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        progress.add_task("", total=size)

    def moved(self, size: int) -> None:
        """So many more are done."""
        self._done += size
        if self._progress:
            self._progress.advance(self._progress.task_ids[0], size)
        elif time.monotonic() - self._told > self.EVERY:
            self._told = time.monotonic()
            rate = self._done / (self._told - self._start) / 1e6
            done, everything = self._done / 1e6, self._all / 1e6
            self.say(f"{self._verb}: {done:,.0f} of {everything:,.0f} MB, {rate:,.0f} MB/s")
