"""The command `triton-builder`: its options, its commands, its exit.

Exit codes: 0 done; 1 the work failed; 2 the input is wrong; 3 something needed is missing;
130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from builder import __version__
from builder.cli import foreign, interrupts
from builder.cli.printing import print_error, print_json
from builder.errors import BuilderError, InputError

COMMANDS = (
    *("init", "check", "plan", "build", "validate", "compare", "serve"),
    *("publish", "releases", "promote", "rollback", "pull", "verify", "agent", "manifests"),
    *("gc", "schema"),
)
"""Each is `command` of the module of its name, imported when it is asked for."""


class Commands(click.Group):
    """The commands, in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"builder.cli.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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
    """Build, prove, release and serve NVIDIA Triton model repositories."""
    context.obj = {"debug": debug, "start": project}


def main() -> NoReturn:
    """The entry point."""
    _open_streams()
    interrupts.listen()
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
        _exit(0)
    except click.ClickException as e:
        if as_json:
            print_json([InputError(e.format_message(), where="command line")])
        e.show()
        sys.exit(InputError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        with suppress(OSError):  # a terminal that is gone
            print(f"\n{interrupts.SAID}", file=sys.stderr)
            sys.stdout.flush()
        os._exit(interrupts.EXIT_CODE)  # all of ours has ended; threads in a slow network have not
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as e:
        error = foreign.told(e)
        if debug and error is not e:
            raise
        _fail(error, debug=debug, as_json=as_json)


def _open_streams() -> None:
    """What the caller has closed is nowhere, and not the next file that is opened.

    What he would not have us wait for is waited for: Python drops what finds no room there.
    """
    for number in range(3):
        try:
            if not os.get_blocking(number):
                os.set_blocking(number, True)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
            os.set_inheritable(number, True)  # noqa: FBT003 - workers have none of their own either
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - no path, no end
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _fail(error: BuilderError, *, debug: bool, as_json: bool) -> NoReturn:
    if debug:
        import traceback

        traceback.print_exception(error)
    with suppress(BrokenPipeError):  # nobody reads it any more
        if as_json and not error.printed:
            print_json([error])
        print_error(error)
    _exit(error.exit_code)


def _exit(code: int) -> NoReturn:
    """Ends the process without taking Python down.

    Threads of obstore let go of what a request held when it is long answered, and a Python that
    is being taken down aborts the process for it; and to free thousands of specs and records
    one by one takes longer than to leave them.
    """
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no other way to have them run now
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)
