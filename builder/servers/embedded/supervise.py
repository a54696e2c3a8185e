"""Runs one server process and sees that nothing of it outlives whoever asked for it.

A program of its own (`python -I -S supervise.py ORDER`), since nothing inside a process
survives its SIGKILL. It stops the server as soon as stdin ends or says anything, or the
parent is gone; then it ends every process below it, and tidies up. ORDER is JSON:

    parent    the id of the process that asked
    command   the server's arguments
    env       the server's environment
    grace     seconds between SIGTERM and SIGKILL; 0 is SIGKILL at once
    scratch   the server's working directory, to be removed
    segments  how the server's names in /dev/shm begin, to be removed

Standard library only, and little of that: it starts in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TICK = 0.1
FILES = 65536


def main(order: dict[str, Any]) -> int:
    """Runs the order to its end; the exit code is the server's, 128 + n for signal n."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans of the server become ours, and so are found
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _allow_files()
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    try:
        server = subprocess.Popen(
            order["command"],
            env=order["env"],
            cwd=order["scratch"],
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - one thread
        )
        while server.poll() is None and not told and os.getppid() == order["parent"]:
            if select.select([sys.stdin], [], [], TICK)[0]:
                break
        _stop(server, order["grace"])
    finally:
        _end_children()
        for segment in Path("/dev/shm").glob(f"{order['segments']}*"):  # noqa: S108
            segment.unlink(missing_ok=True)
        shutil.rmtree(order["scratch"], ignore_errors=True)
    code = server.returncode
    return code if code >= 0 else 128 - code


def _allow_files() -> None:
    """Lets the server open as many files as it may: a shell's 256 are soon too few for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop(server: subprocess.Popen[bytes], grace: float) -> None:
    if grace and server.poll() is None:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace)
    server.kill()
    server.wait()


def _end_children() -> None:
    """Kills and reaps whatever is left below this process, until nothing is."""
    while True:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
