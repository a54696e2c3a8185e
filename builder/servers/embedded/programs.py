"""Other programs, run to their end; another thread can stop all that run.

An installation takes its time in pip, in a thread of its own. A user who does not want to wait
must not have to, and must not leave a pip behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_running: set[subprocess.Popen[str]] = set()
_stopped = Event()


def run(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Runs a program in a session of its own; its exit code and all that it printed."""
    if _stopped.is_set():
        return -signal.SIGKILL, "stopped"
    process = subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _running.add(process)
    if _stopped.is_set():  # meanwhile: `stop` has not seen it
        _kill(process)
    try:
        output, _ = process.communicate()
    finally:
        _running.discard(process)
        _kill(process)
    return process.returncode, output


def stop() -> None:
    """Ends what runs, and whatever would start next, until `resume`."""
    _stopped.set()
    for process in list(_running):
        _kill(process)


def resume() -> None:
    """Lets programs start again."""
    _stopped.clear()


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
