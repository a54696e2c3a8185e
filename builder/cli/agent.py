"""The sidecar that follows a channel."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli import interrupts
from builder.cli.stores import (
    PATIENCE,
    cache_option,
    models_option,
    release_store,
    store_option,
    trust_options,
)
from builder.errors import BuilderError

if TYPE_CHECKING:
    from builder.agent.follow import Follower
    from builder.agent.tell import Teller
    from builder.release.trust import Trust

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(_context: object, _option: object, text: str) -> float:
    """An option that is a time."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no time; expected a number with a unit: 10s, 2m")
    return float(match[1]) * UNITS[match[2]]


@click.command("agent")
@click.argument("channel")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@store_option
@click.option("--http", metavar="HOST:PORT", default="localhost:8000", show_default=True,
              help="Where Triton serves HTTP.")  # fmt: skip
@click.option("--grpc", metavar="HOST:PORT", default="localhost:8001", show_default=True,
              help="Where it serves gRPC, by which models are loaded; '' for HTTP, where each load "
              "holds up an eighth of the server's HTTP clients.")  # fmt: skip
@click.option("--interval", callback=seconds, default="10s", show_default=True,
              help="Between looks at the channel.")  # fmt: skip
@click.option("--prove-every", callback=seconds, default="60s", show_default=True,
              help="Between askings of all probes; 0s for after moves only.")  # fmt: skip
@click.option("--load-timeout", callback=seconds, default="10m", show_default=True,
              help="What a load may take, warm-up included.")  # fmt: skip
@click.option("--answer-timeout", callback=seconds, default="60s", show_default=True,
              help="What the answer to a probe may take.")  # fmt: skip
@click.option("--rehearse/--no-rehearse", default=True, show_default=True,
              help="Try what is new under other names before clients see it.")  # fmt: skip
@models_option
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True,
              help="For /healthz, /readyz and /metrics; 0 for none.")  # fmt: skip
@cache_option
@trust_options
@click.option("--once", is_flag=True, help="Bring the server to the channel's release, and end.")
@click.option("--json", "as_json", is_flag=True, help="Say everything as JSON, an event a line.")
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    channel: str,
    folder: Path,
    store: str | None,
    http: str,
    grpc: str,
    interval: float,
    prove_every: float,
    load_timeout: float,
    answer_timeout: float,
    rehearse: bool,
    models: list[str],
    port: int,
    cache: Path | None,
    trust: Trust,
    once: bool,
    as_json: bool,
) -> None:
    """Follow CHANNEL: bring DIR, and the Triton that serves it, from release to release.

    $TRITON_BUILDER_CONTROL_KEY is the key that the server asks for of whoever loads models, if any.
    """
    from builder.agent import web
    from builder.agent.follow import Follower, Options
    from builder.agent.home import Home
    from builder.agent.log import Log
    from builder.agent.metrics import Metrics
    from builder.agent.source import ASKING, StoreSource
    from builder.agent.tell import Teller
    from builder.agent.triton import Triton
    from builder.servers.endpoint import CONTROL_KEY

    tell = Teller(Log(as_json=as_json), Metrics(), load_timeout)
    source = StoreSource(
        release_store(options, store),
        release_store(options, store, limits=ASKING),
        channel,
        folder,
        cache=cache,
        models=models,
        check=trust.check if trust else None,
        say=tell.say,
    )
    triton, home = Triton(http, grpc or None, os.environ.get(CONTROL_KEY)), Home(folder)
    how = Options(interval, prove_every, load_timeout, answer_timeout, rehearse)
    interrupts.end_within(PATIENCE)
    with ExitStack() as stack:
        stack.enter_context(home.lock())
        follower = Follower(home, source, triton, tell, how)
        if once:
            _once(follower, tell, as_json=as_json)
            return
        if port:
            checks = {"/healthz": tell.healthy, "/readyz": follower.ready}
            stack.enter_context(web.serving(port, checks, tell.metrics.render))
        tell.say(f"following {channel} into {folder}", "started", channel=channel)
        try:
            follower.run()
        except KeyboardInterrupt:
            tell.say("stopped", "stopped")


def _once(follower: Follower, tell: Teller, *, as_json: bool) -> None:
    """One look; an error is an event like others, and no JSON document besides."""
    try:
        follower.once()
    except BuilderError as e:
        if as_json:
            tell.say(e.problem, "error", **e.as_dict())
            e.printed = True
        raise
