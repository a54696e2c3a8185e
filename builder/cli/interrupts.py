"""Ctrl-C and SIGTERM: both end the work in hand."""

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
    """Makes Ctrl-C and SIGTERM end the work, unless whoever started us has Ctrl-C ignored."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


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
