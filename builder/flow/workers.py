"""Workers of this machine for a build; the server is installed meanwhile, if something needs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from builder.engine.local import RUNTIME, LocalExecutor
from builder.servers import programs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import ExitStack

    from builder.flow.context import Context
    from builder.plan.action import Action


def local(
    context: Context, jobs: int, say: Callable[[str], None], stack: ExitStack
) -> Callable[[Collection[Action]], LocalExecutor]:
    """What makes an executor for the actions that are no hits.

    Args:
        context: the project, and the store of the results.
        jobs: how many actions may run at once.
        say: told in a line what goes on.
        stack: when it is left, an installation that is still going on is stopped.
    """

    def make(left: Collection[Action]) -> LocalExecutor:
        runtime = None
        if any(action.stage == RUNTIME for action in left):
            pool = stack.enter_context(ThreadPoolExecutor(1))
            stack.callback(programs.stop)  # before the pool waits for its thread
            runtime = pool.submit(lambda: context.install(say).runtime)
        return LocalExecutor(context.store, jobs, runtime)

    return make
