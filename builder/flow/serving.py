"""The server that a target's models are put before, whichever kind it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from builder.errors import InputError
from builder.servers.launch import Launch
from builder.triton.releases import release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from builder.flow.context import Context
    from builder.servers.server import Server
    from builder.servers.started import StartedServer


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
        from builder.servers.reach import Reach
        from builder.servers.remote import RemoteServer

        reach = Reach.told(context.urls, (context.target.url,) if context.target.url else ())
        expected = release(context.target.triton)
        with RemoteServer(reach, repositories, expected) as remote:
            yield remote
    else:
        with started(context, repositories, Launch(verbose=1), say) as server:
            yield server


def started(
    context: Context, repositories: Sequence[Path], launch: Launch, say: Callable[[str], None]
) -> StartedServer:
    """The server of a target that has one of its own; it does not run yet.

    Raises:
        InputError: the target's is one that somebody else runs.
        MissingError: what it needs is not here.
    """
    check_own(context)
    if context.target.server == "container":
        return context.contained.server(repositories, launch, say)
    from builder.servers.embedded.server import EmbeddedServer

    return EmbeddedServer(context.install(say), repositories, launch)


def check_own(context: Context) -> None:
    """Raises InputError where a target's server is not one that is started for it."""
    if context.target.server == "remote":
        raise InputError(
            "the target's server is one that somebody else runs, and serves what it is told to",
            where=f"pyproject.toml [tool.triton-builder.targets.{context.target_name}]",
            found='server = "remote"',
            expected='server = "embedded" or "container", which are started here',
            fix="name a target of such a kind: --target; that server gets models by releases: "
            "triton-builder publish, then triton-builder pull or agent beside it",
        )
