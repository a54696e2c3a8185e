"""What a program prints, while it runs and after: a file without a name."""

from __future__ import annotations

import os
import tempfile

from builder.servers.log import COLOUR


class Output:
    """A file for a program to print into.

    Attributes:
        file: what the program gets.
    """

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._text = ""

    def text(self) -> str:
        """All that was printed so far, without colours; still there when it is closed."""
        if not self.file.closed:
            descriptor = self.file.fileno()
            # pread: the program writes at the offset that this file shares with it
            printed = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            self._text = COLOUR.sub("", printed.decode(errors="replace"))
        return self._text

    def close(self) -> None:
        """No more is read."""
        self.text()
        self.file.close()
