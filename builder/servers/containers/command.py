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
    """Runs it, which may fail; it ends when the caller is interrupted.

    Args:
        command: the program and its arguments.
        seconds: how long it may take; None for as long as it takes.
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
        try:
            if feed and process.stdin:
                with suppress(BrokenPipeError), process.stdin as pipe:
                    feed(pipe)
            process.wait(seconds)
        except subprocess.TimeoutExpired as e:
            raise MissingError(
                "the container engine does not answer",
                where=" ".join(command[:2]),
                found=f"nothing in {seconds:g} s",
                fix="see what it is at; perhaps start it anew: systemctl restart docker",
            ) from e
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
        return Done(command, process.returncode, *texts)
