"""Ctrl-C and SIGTERM: both end the work in hand."""

from __future__ import annotations

import signal
import threading

EXIT_CODE = 130

asked = threading.Event()
"""Set once the user has asked to stop, whoever swallowed the exception."""


def listen() -> None:
    """Makes Ctrl-C and SIGTERM end the work, unless whoever started us has Ctrl-C ignored."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    asked.set()
    raise KeyboardInterrupt
