"""Removes a container as soon as whoever asked for it is done with it, or is no more.

A program of its own (`python -I -S keeper.py ORDER`), since nothing inside a process survives its
SIGKILL. It acts when stdin ends or says anything, or the parent is gone. ORDER is JSON:

    parent    the id of the process that asked
    stop      the command that has it end by itself, first; null where it need not
    remove    the command that removes the container
    absent    what the engine says of a container that there is not

Its exit code is the command's, and what that said last goes to stdout. Standard library only.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

TICK = 0.1
ATTEMPTS = 10
"""An engine may refuse while the container is just ending by itself."""
PAUSE = 0.3


def main(order: dict[str, Any]) -> int:
    """Waits, and removes; 0 where the container is gone."""
    told = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    while not told and os.getppid() == order["parent"]:
        if select.select([sys.stdin], [], [], TICK)[0]:
            break
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if order["stop"]:
        subprocess.run(order["stop"], capture_output=True, check=False)
    for _ in range(ATTEMPTS):
        done = subprocess.run(order["remove"], capture_output=True, text=True, check=False)
        said = done.stderr.strip()
        if not done.returncode or any(words in said.lower() for words in order["absent"]):
            return 0
        time.sleep(PAUSE)
    print(said)
    return 1


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
