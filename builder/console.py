"""What a person sees while something runs: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID

    from builder.engine.run import Event


class Console:
    """Tells of a run on standard error; standard output is for results."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._start = time.monotonic()
        self.hits = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line of news."""
        if self._quiet:
            return
        if self._progress:
            self._progress.console.print(text, highlight=False, markup=False)
        else:
            print(f"[{time.monotonic() - self._start:6.1f} s] {text}", file=sys.stderr, flush=True)

    def on_event(self, event: Event) -> None:
        """News of an action."""
        if self._quiet:
            return
        if event.kind == "hit":
            self.hits += 1
            return
        self._show(event)
        if event.kind == "start":
            if not sys.stderr.isatty():
                self.say(f"{event.action}: {event.reason}")
        elif event.kind == "done":
            self.say(f"{event.action}: done in {event.seconds:.1f} s")
        else:
            self.say(f"{event.action}: FAILED: {event.reason}")

    def _show(self, event: Event) -> None:
        """The live view: a line with a clock for each action that runs."""
        if not sys.stderr.isatty():
            return
        if self._progress is None:
            from rich.console import Console as Terminal
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("[dim]{task.fields[reason]}"),
                console=Terminal(stderr=True),
                transient=True,
            )
            self._progress.start()
        if event.kind == "start":
            task = self._progress.add_task(event.action, total=None, reason=event.reason)
            self._tasks[event.action] = task
        elif event.action in self._tasks:
            self._progress.remove_task(self._tasks.pop(event.action))
