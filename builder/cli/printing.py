"""What commands print: results and errors, as text and as the one JSON document of a command."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from builder.errors import BuilderError, SeveralError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.flow.context import Context
    from builder.flow.outcome import Outcome


def warn(text: str) -> None:
    """One line of what is not as it should be, and does no harm."""
    print(f"warning: {text}", file=sys.stderr)


def tell(text: str) -> None:
    """One line of news, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def print_json(errors: Sequence[BuilderError] = (), **others: Any) -> None:
    """The one JSON document of a command."""
    flat = [one for e in errors for one in (e.errors if isinstance(e, SeveralError) else (e,))]
    told = {"errors": [e.as_dict() for e in flat]} if flat else {}
    print(json.dumps(others | told, indent=2))
    for e in errors:
        e.printed = True


def print_error(error: BuilderError) -> None:
    """An error on standard error. It may quote what somebody wrote for this terminal to obey."""
    text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in str(error))
    if sys.stderr.isatty():
        from rich.console import Console as Terminal
        from rich.markup import escape

        Terminal(stderr=True).print(f"[bold red]error[/]: {escape(text)}", highlight=False)
    else:
        print(f"error: {text}", file=sys.stderr)


def report(
    here: Context, outcome: Outcome, *, as_json: bool, errors: Sequence[BuilderError] = ()
) -> None:
    """Prints what a build has to say, and leaves the report beside the repository.

    A report that cannot be written is a pity, not a failure: what it says has been said.
    """
    from rich.console import Console as Terminal

    from builder.flow.reporting import leave
    from builder.flow.reporting import report as reported
    from builder.report.terminal import show

    said = reported(here, outcome)
    if as_json:
        print_json(errors, changed=outcome.changed, ran=outcome.ran, **said.as_json())
    else:
        show(said, Terminal())
        if outcome.changed:
            print(f"repository/{here.target_name} is {outcome.manifest.digest[:19]}")
    try:
        files = leave(here, said)
    except BuilderError as e:
        warn(f"no report was left: {e}")
        return
    if not as_json:
        print(f"report: {', '.join(files)}")
