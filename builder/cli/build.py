"""Building, proving and swapping in a repository."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli import interrupts
from builder.cli.options import json_option, names_argument, target_option
from builder.cli.printing import report as show
from builder.console import Console
from builder.errors import BuilderError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.engine.executor import Executor
    from builder.engine.run import Event
    from builder.engine.trace import Trace
    from builder.flow.context import Context


@click.command("build")
@names_argument
@target_option
@click.option("--jobs", "-j", type=click.IntRange(1), help="Actions at once; default: the cores.")
@click.option(
    "--executor", type=click.Choice(["local", "ray"]), default="local", help="Where actions run."
)
@click.option("--address", metavar="HOST:PORT", help="The Ray cluster; default: one of its own.")
@click.option("--no-validate", is_flag=True, help="Do not ask a live server; marked so.")
@click.option("--strict", is_flag=True, help="Refuse results that are not reproducible.")
@click.option("--check-reproducible", is_flag=True, help="Build twice, elsewhere, and compare.")
@click.option(
    "--trace", type=click.Path(dir_okay=False, path_type=Path), help="Write a Chrome trace there."
)
@json_option
@click.pass_obj
def command(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    names: tuple[str, ...],
    target: str | None,
    jobs: int | None,
    executor: str,
    address: str | None,
    no_validate: bool,
    strict: bool,
    check_reproducible: bool,
    trace: Path | None,
    as_json: bool,
) -> None:
    """Build, prove on a live server, and swap repository/<target>/ in."""
    from builder.engine.machine import usable_cores
    from builder.engine.trace import Trace
    from builder.flow.build import Options
    from builder.flow.build import build as run
    from builder.flow.context import context
    from builder.flow.outcome import NotProvenError
    from builder.spec.project import find

    if address and executor != "ray":
        raise InputError(
            "an address is for the ray executor",
            where="--address",
            found=f"--executor {executor}",
            expected="--executor ray",
        )
    tracing = Trace()
    with Console() as console, ExitStack() as stack:
        if trace:
            tracing.write(trace)  # now: that it cannot be written is no news for the end
            stack.callback(_leave_trace, tracing, trace, console.warn)
        with tracing.phase("plan"):
            here = context(find(options["start"]), target, names, console.warn)

        def listen(event: Event) -> None:
            tracing.on_event(event)
            console.on_event(event)

        cluster = functools.partial(_cluster, address, console.say)
        report = functools.partial(show, here, as_json=as_json)
        how = Options(
            jobs=jobs or usable_cores(),
            validate=not no_validate,
            strict=strict,
            say=console.say,
            on_event=listen,
            phase=tracing.phase,
            interrupted=interrupts.asked.is_set,
            cluster=cluster if executor == "ray" else None,
            report=(lambda _: None) if check_reproducible else report,
        )
        try:
            outcome = run(here, how)
        except NotProvenError as e:
            show(here, e.outcome, as_json=as_json, errors=[e])
            raise
        if check_reproducible:
            from builder.flow.reproducible import check, refuse

            with tracing.phase("build again"):
                jobs = how.jobs
                again = check(here, outcome.records, jobs=jobs, say=console.say, on_event=listen)
            refuse(again)
            console.say("built twice, and all came out the same")
    if outcome.changed and not check_reproducible:
        return  # it was reported when the repository had changed
    if outcome.changed or as_json:
        report(outcome)
        return
    print(f"repository/{here.target_name} is up to date ({outcome.manifest.digest[:19]})")


def _leave_trace(tracing: Trace, file: Path, warn: Callable[[str], None]) -> None:
    """Writes a trace. What the build came to is not changed by its failing."""
    try:
        tracing.write(file)
    except (BuilderError, OSError) as e:
        warn(f"no trace was left: {e}")


def _cluster(address: str | None, say: Callable[[str], None], here: Context) -> Executor:
    from builder.engine.ray.executor import RayExecutor

    return RayExecutor(here.store, address=address, release=here.target.triton, say=say)
