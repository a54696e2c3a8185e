"""The server that a target's models are put before, whichever kind it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from builder.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builder.flow.context import Context
    from builder.servers.server import Server


@contextmanager
def serving(
    context: Context, repositories: Sequence[Path], say: Callable[[str], None]
) -> Iterator[Server]:
    """The target's server, live and in explicit mode, with nothing loaded.

    Args:
        context: the project, seen for its target.
        repositories: folders that it can load models from.
        say: told in a line what goes on.

    Raises:
        MissingError: there is no such server, or what it needs is not here.
        WorkFailedError: it does not become live.
    """
    if context.target.server == "embedded":
        from builder.servers.embedded import EmbeddedServer

        installation = context.install(say)
        with EmbeddedServer(installation, repositories, explicit=True, verbose=1) as server:
            yield server
    else:
        raise MissingError(
            f"server = {context.target.server!r} is not supported yet",
            where=f"pyproject.toml [tool.triton-builder.targets.{context.target_name}]",
            found=context.target.server,
            expected="embedded",
            fix="build a target with server = 'embedded'",
        )
