"""How processes end, in words."""

from __future__ import annotations

import signal

MEMORY = "out of memory"
"""How one is said to have ended that its kernel killed for want of it."""


def ending(code: int | None) -> str:
    """An exit code in words: 128 + n is signal n, as shells say it; None is not known."""
    if code is None:
        return "unknown"
    names = {128 + one: one.name for one in signal.Signals}
    return names.get(code, f"exit code {code}")
