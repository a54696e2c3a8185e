"""Ctrl-C, SIGTERM, and a terminal that goes away (SIGHUP): each ends the work in hand."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

EXIT_CODE = 130
SAID = "interrupted; what was finished is kept"

asked = threading.Event()
"""Set once the user has asked to stop, whoever swallowed the exception."""


def listen() -> None:
    """Makes these end the work; Ctrl-C and SIGHUP not where whoever started us has them ignored.

    As nohup does, and a shell for what runs in its background.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def end_within(seconds: float) -> None:
    """Ends the process so long after an interrupt, if it has not ended by then.

    For work that may be killed at any moment, and may hang in a network or a disk.
    """

    def wait() -> None:
        asked.wait()
        time.sleep(seconds)
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        print(f"{show_cursor}\n{SAID}", file=sys.stderr, flush=True)
        os._exit(EXIT_CODE)

    threading.Thread(target=wait, name="end", daemon=True).start()


def _interrupt(_number: int, _frame: object) -> None:
    asked.set()
    raise KeyboardInterrupt
