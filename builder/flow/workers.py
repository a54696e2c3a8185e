"""Workers of this machine for a build; the server is installed meanwhile, if something needs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from builder.engine.local import FIRST, RUNTIME, LocalExecutor
from builder.engine.worker import Worker
from builder.servers.embedded import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import ExitStack

    from builder.flow.context import Context
    from builder.plan.action import Action


class Workers:
    """Makes what runs the actions that are no hits.

    Args:
        context: the project, and the store of the results.
        jobs: how many actions may run at once.
        say: told in a line what goes on.
        stack: when it is left, an installation that is still going on is stopped.
    """

    def __init__(
        self, context: Context, jobs: int, say: Callable[[str], None], stack: ExitStack
    ) -> None:
        self._context = context
        self._jobs = jobs
        self._say = say
        self._stack = stack
        self._first: Worker | None = None
        self._expected = False

    def expect(self) -> None:
        """There is a miss: the first worker starts while the other actions are decided on."""
        if not self._expected:
            self._expected = True
            self._first = Worker(self._context.store, FIRST)
            self._stack.callback(self._leave)

    def executor(self, left: Collection[Action]) -> LocalExecutor:
        """An executor for the actions that are no hits."""
        runtime = None
        if any(action.stage == RUNTIME for action in left):
            pool = self._stack.enter_context(ThreadPoolExecutor(1))
            self._stack.callback(programs.stop)  # before the pool waits for its thread
            runtime = pool.submit(self._context.prover, self._say)
        started, self._first = self._first, None
        return LocalExecutor(self._context.store, self._jobs, runtime, started=started)

    def _leave(self) -> None:
        if self._first:
            self._first.stop()
