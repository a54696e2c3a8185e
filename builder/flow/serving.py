"""The server that a target's models are put before, whichever kind it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from builder.triton.releases import release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builder.flow.context import Context
    from builder.servers.server import Server


@contextmanager
def serving(
    context: Context,
    repositories: Sequence[Path],
    say: Callable[[str], None],
) -> Iterator[Server]:
    """The target's server, live, with nothing loaded that is not somebody else's.

    Args:
        context: the project, seen for its target.
        repositories: folders that it can load models from, or is sent them.
        say: told in a line what goes on.

    Raises:
        MissingError: there is no such server, or what it needs is not here.
        WorkFailedError: it does not become live.
    """
    if context.urls or context.target.server == "remote":
        from builder.servers.remote import Reach, RemoteServer

        reach = Reach.told(context.urls, (context.target.url,) if context.target.url else ())
        expected = release(context.target.triton)
        with RemoteServer(reach, repositories, expected) as remote:
            yield remote
    elif context.target.server == "embedded":
        from builder.servers.embedded import EmbeddedServer

        installation = context.install(say)
        with EmbeddedServer(installation, repositories, explicit=True, verbose=1) as server:
            yield server
    else:
        with context.contained.server(repositories, say) as container:
            yield container
