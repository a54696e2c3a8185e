"""A command of a container engine's, run to its end, whatever that is."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

from builder.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Kind = Literal["docker", "podman", "nerdctl"]
"""Whose command it is."""

PROMPT = 60.0
"""Seconds for what an engine does at once: far more than it takes on a busy machine."""


GRACE = 10.0
"""Seconds that what is done at once may still take when the caller is interrupted. A podman that
ends while it gives a container its network, by whatever signal, leaves rules of the firewall that
nobody removes, and that take a port for a container that there is no more."""


@dataclass(frozen=True)
class Done:
    """What a command of the engine came to."""

    command: Sequence[str]
    code: int
    out: str
    err: str


def run(
    command: Sequence[str], seconds: float | None, feed: Callable[[IO[bytes]], None] | None = None
) -> Done:
    """Runs it, which may fail. It ends when the caller is interrupted: at once, or with its work.

    Args:
        command: the program and its arguments.
        seconds: how long it may take, if it is done at once; None for as long as it takes.
        feed: writes what it reads.

    Raises:
        MissingError: it did not end in time.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            # podman's monitor leaves a file `oom` where it was started, if the kernel kills
            cwd=tempfile.gettempdir(),
            start_new_session=True,  # a terminal's Ctrl-C is ours to act on
        )
        grace = GRACE if seconds else 0
        try:
            if feed and process.stdin:
                with suppress(BrokenPipeError), process.stdin as pipe:
                    feed(pipe)
            process.wait(seconds)
        except subprocess.TimeoutExpired as e:
            grace = 0
            raise MissingError(
                "the container engine does not answer",
                where=" ".join(command[:2]),
                found=f"nothing in {seconds:g} s",
                fix="see what it is at; perhaps start it anew: systemctl restart docker",
            ) from e
        finally:
            if process.poll() is None:
                _end(process, grace)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Done(command, process.returncode, *texts)


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """Ends it; not before it had the time to end by itself."""
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
