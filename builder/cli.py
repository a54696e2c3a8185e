"""The command line: parses, wires, prints. Nothing imports it.

Exit codes: 0 done; 1 the work failed; 2 the input is wrong; 3 something needed is missing;
130 interrupted.
"""

from __future__ import annotations

import functools
import gc
import io
import json
import os
import re
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from builder import __version__
from builder.console import Console
from builder.errors import BuilderError, InputError, SeveralError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.engine.executor import Executor
    from builder.engine.run import Event
    from builder.engine.trace import Trace
    from builder.flow.build import Outcome
    from builder.flow.context import Context

INTERRUPTED = 130
_interrupted = threading.Event()

names_argument = click.argument("names", nargs=-1)
target_option = click.option("--target", "-t", metavar="T", help="A target of pyproject.toml.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="triton-builder")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option(
    "--project",
    "-C",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project's folder; found from here upwards by default.",
)
@click.pass_context
def cli(context: click.Context, *, debug: bool, project: Path) -> None:
    """Build, prove and serve NVIDIA Triton model repositories."""
    context.obj = {"debug": debug, "start": project}


def main() -> NoReturn:
    """The entry point of the command `triton-builder`."""
    _listen()
    gc.set_threshold(100_000)  # thousands of specs and records are no garbage: saves a tenth
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # looking for them takes 20 ms
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without → still shows the rest
    arguments = [word for word in sys.argv[1:] if word != "--debug"]  # wherever it stands
    debug, as_json = len(arguments) < len(sys.argv) - 1, "--json" in arguments
    try:
        cli(arguments, standalone_mode=False)
        sys.stdout.flush()
        sys.exit(0)
    except BuilderError as e:
        _fail(e, debug=debug, as_json=as_json)
    except click.ClickException as e:
        if as_json:
            _print_json([InputError(e.format_message(), where="command line")])
        e.show()
        sys.exit(InputError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        print("\ninterrupted; what was finished is kept", file=sys.stderr)
        sys.stdout.flush()
        os._exit(INTERRUPTED)  # everything of ours has ended; threads in a slow network have not
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as e:
        if debug:
            raise
        problem = f"{type(e).__name__}: {e}"
        fix = f"a bug of triton-builder; for the traceback: triton-builder --debug {arguments[0]}"
        _fail(BuilderError(problem, fix=fix), debug=False, as_json=as_json)


def _listen() -> None:
    """Makes Ctrl-C and SIGTERM end the work, unless whoever started us has Ctrl-C ignored."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    _interrupted.set()
    raise KeyboardInterrupt


def _fail(error: BuilderError, *, debug: bool, as_json: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    if as_json and not hasattr(error, "outcome"):  # else the report has told it already
        _print_json([error])
    _print_error(error)
    sys.exit(error.exit_code)


def _print_json(errors: Sequence[BuilderError], **others: Any) -> None:
    """The one JSON document of a command."""
    flat = [one for e in errors for one in (e.errors if isinstance(e, SeveralError) else (e,))]
    told = {"errors": [e.as_dict() for e in flat]} if flat else {}
    print(json.dumps(others | told, indent=2))


def _print_error(error: BuilderError) -> None:
    if sys.stderr.isatty():
        from rich.console import Console as Terminal
        from rich.markup import escape

        Terminal(stderr=True).print(f"[bold red]error[/]: {escape(str(error))}", highlight=False)
    else:
        print(f"error: {error}", file=sys.stderr)


@cli.command()
@click.argument("name", required=False)
@click.pass_obj
def init(options: dict[str, Any], *, name: str | None) -> None:
    """Start a project here, or a model NAME in one."""
    from builder import scaffold
    from builder.spec.project import find

    start = options["start"].resolve()
    written = []
    try:
        root = find(start)
    except InputError:
        root = start
        written += scaffold.project(root)
    else:
        written += [] if name else scaffold.project(root)
    if name:
        written += scaffold.model(root, name)
    for file in written or ["nothing: it is all there"]:
        print(f"wrote {file}")
    if name:
        print(f"next: fill in models/{name}/source.py, then triton-builder build {name}")


@cli.command()
@json_option
@click.pass_obj
def check(options: dict[str, Any], *, as_json: bool) -> None:
    """Read and check all specs. Fast: imports nothing heavy."""
    from builder.spec import project as projects

    project = projects.load(projects.find(options["start"]))
    for name, spec in project.models.items():
        if spec.config:
            from builder.triton.config import check_overrides

            place = project.documents[name].where(("config",))
            check_overrides(spec.config, place)
    found = {
        "models": {n: list(s.served) for n, s in project.models.items()},
        "ensembles": {n: [s.version] for n, s in project.ensembles.items()},
        "targets": list(project.settings.targets),
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(f"{len(project.models)} models and {len(project.ensembles)} ensembles are well-formed")


@cli.command()
@names_argument
@target_option
@click.option("--explain", metavar="ACTION", help="Show one action in full: its key and inputs.")
@json_option
@click.pass_obj
def plan(
    options: dict[str, Any],
    *,
    names: tuple[str, ...],
    target: str | None,
    explain: str | None,
    as_json: bool,
) -> None:
    """Show what would be built, and why each action is not a hit."""
    from builder.flow.context import context
    from builder.plan.evaluate import evaluate
    from builder.spec.project import find

    here = context(find(options["start"]), target, names, _warn)
    if explain:
        from builder.flow import explain as explaining

        told = explaining.explain(here, explain)
        print(json.dumps(told, indent=2) if as_json else "\n".join(explaining.lines(told)))
        return
    decisions = evaluate(here.graph, here.files, here.store)
    if as_json:
        rows = [
            {"action": d.action.id, "hit": d.hit, "key": d.key, "reason": d.reason or None}
            for d in decisions
        ]
        print(json.dumps({"target": here.target_name, "actions": rows}, indent=2))
        return
    width = max(len(d.action.id) for d in decisions)
    for d in decisions:
        print(f"{'hit ' if d.hit else 'miss'}  {d.action.id:<{width}}  {d.reason}".rstrip())
    todo = sum(not d.hit for d in decisions)
    print(f"{todo} of {len(decisions)} actions to do for target {here.target_name}")


@cli.command()
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
def build(  # noqa: PLR0913 - the command's options
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
    from builder.engine.trace import Trace
    from builder.flow.build import NotProvenError, Options
    from builder.flow.build import build as run
    from builder.flow.context import context
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
        report = functools.partial(_report, here, as_json=as_json)
        how = Options(
            jobs=jobs or len(os.sched_getaffinity(0)),
            validate=not no_validate,
            strict=strict,
            say=console.say,
            on_event=listen,
            phase=tracing.phase,
            interrupted=_interrupted.is_set,
            cluster=cluster if executor == "ray" else None,
            report=(lambda _: None) if check_reproducible else report,
        )
        try:
            outcome = run(here, how)
        except NotProvenError as e:
            _report(here, e.outcome, as_json=as_json, errors=[e])
            raise
        if check_reproducible:
            from builder.flow.reproducible import check, refuse

            with tracing.phase("build again"):
                jobs = how.jobs
                again = check(here, outcome.records, jobs=jobs, say=console.say, on_event=listen)
            refuse(again)
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


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def _size(_context: object, _option: object, text: str | None) -> int | None:
    """An option that is a size."""
    from builder.spec.size import size

    try:
        return size(text) if text else None
    except ValueError as e:
        raise click.BadParameter(f"{text!r} is {e}") from e


def _age(_context: object, _option: object, text: str | None) -> float | None:
    """An option that is a time in hours or days, as seconds."""
    if not text:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([hd])", text)
    if not match:
        raise click.BadParameter(f"{text!r} is no time; expected hours or days: 12h, 30d")
    return float(match[1]) * {"h": 3600, "d": 86400}[match[2]]


@cli.command("gc")
@click.option("--max-size", metavar="SIZE", callback=_size, help="Most bytes to keep: 20GB.")
@click.option("--max-age", metavar="TIME", callback=_age, help="Longest without use: 30d, 12h.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@json_option
def collect_garbage(
    *, max_size: int | None, max_age: float | None, dry_run: bool, as_json: bool
) -> None:
    """Drop what was not used for long from the local store.

    Without limits: what nothing refers to any more. What a repository was built from, and what a
    running build uses, always stays.
    """
    from builder.store.digests import cache_folder
    from builder.store.gc import Limits, collect
    from builder.store.store import Store

    store = Store(cache_folder() / "store", Path())
    found = collect(store, Limits(max_size, max_age), dry=dry_run)
    if as_json:
        print(json.dumps(vars(found), indent=2))
        return
    verb = "would drop" if dry_run else "dropped"
    print(
        f"{verb} {found.records} results and {found.blobs} files ({found.bytes / 1e6:.1f} MB); "
        f"{found.left / 1e6:.1f} MB stay in {store.root}"
    )


@cli.command()
@names_argument
@target_option
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The repository to validate; default: repository/<target>.",
)
@json_option
@click.pass_obj
def validate(
    options: dict[str, Any],
    *,
    names: tuple[str, ...],
    target: str | None,
    repository: Path | None,
    as_json: bool,
) -> None:
    """Run every check again on a live server."""
    from builder.flow.build import NotProvenError
    from builder.flow.build import validate as run
    from builder.flow.context import context
    from builder.spec.project import find

    with Console() as console:
        here = context(find(options["start"]), target, names, console.warn)
        try:
            outcome = run(here, (repository or here.repository).resolve(), console.say)
        except NotProvenError as e:
            _report(here, e.outcome, as_json=as_json, errors=[e])
            raise
    _report(here, outcome, as_json=as_json)


@cli.command()
@target_option
@click.option("--http-port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.option("--grpc-port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Default: a free one.")
@click.option("--verbose", "-v", is_flag=True, help="Show all that the server logs.")
@click.pass_obj
def serve(  # noqa: PLR0913 - the command's options
    options: dict[str, Any],
    *,
    target: str | None,
    http_port: int | None,
    grpc_port: int | None,
    metrics_port: int | None,
    verbose: bool,
) -> None:
    """Run Triton on the built repository until stopped."""
    from builder.flow.context import context
    from builder.repository.manifest import FILE
    from builder.servers.foreground import serve as run
    from builder.servers.ports import pick
    from builder.spec.project import find

    here = context(find(options["start"]), target)
    if not (here.repository / FILE).is_file():
        raise InputError(
            "nothing is built",
            where=f"repository/{here.target_name}",
            fix=f"triton-builder build --target {here.target_name}",
        )
    given = (http_port, grpc_port, metrics_port)
    ports = None
    if any(given):
        free = pick()
        ports = (given[0] or free[0], given[1] or free[1], given[2] or free[2])
    say = functools.partial(print, flush=True)
    run(here.install(say), here.repository, ports, say, verbose=verbose)


@cli.command()
def schema() -> None:
    """Print JSON Schema of model.yaml and ensemble.yaml, for editors."""
    from builder.spec.ensemble import EnsembleSpec
    from builder.spec.model import ModelSpec

    both = {
        "model.yaml": ModelSpec.model_json_schema(),
        "ensemble.yaml": EnsembleSpec.model_json_schema(),
    }
    print(json.dumps(both, indent=2))


def _report(
    here: Context, outcome: Outcome, *, as_json: bool, errors: Sequence[BuilderError] = ()
) -> None:
    """Prints what a build has to say, and leaves the report beside the repository.

    A report that cannot be written is a pity, not a failure: what it says has been said.
    """
    from rich.console import Console as Terminal

    from builder.flow.reporting import leave, report
    from builder.report.terminal import show

    said = report(here, outcome)
    if as_json:
        _print_json(errors, changed=outcome.changed, ran=outcome.ran, **said.as_json())
    else:
        show(said, Terminal())
        if outcome.changed:
            print(f"repository/{here.target_name} is {outcome.manifest.digest[:19]}")
    try:
        files = leave(here, said)
    except BuilderError as e:
        print(f"warning: no report was left: {e}", file=sys.stderr)
        return
    if not as_json:
        print(f"report: {', '.join(files)}")
