"""A program of ours that outlives us: it clears up what we started, however we end.

`supervise` and `keeper` are such programs, each for its own kind of server.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STOP = b"stop\n"


class Guard:
    """One that runs, and waits for its word.

    Args:
        program: a file of Python's standard library alone: it starts in milliseconds.
        order: what it is to do, as JSON.
        output: where it and its children print.
    """

    def __init__(self, program: Path, order: Mapping[str, Any], output: IO[bytes]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(program), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is ours to act on
        )

    def dismiss(self) -> int:
        """Has it clear up, and waits; gives its exit code. It may be asked again.

        Raises:
            KeyboardInterrupt: one came meanwhile; it has cleared up all the same.
        """
        try:
            self._tell()
            return self.process.wait()
        except KeyboardInterrupt:
            self._tell()
            self.process.wait()
            raise

    def _tell(self) -> None:
        # Said and closed: a forked worker of ours may hold the pipe's end open.
        stdin = self.process.stdin
        if stdin is None or stdin.closed:
            return
        with contextlib.suppress(OSError):
            stdin.write(STOP)
            stdin.flush()
        with contextlib.suppress(OSError):
            stdin.close()
