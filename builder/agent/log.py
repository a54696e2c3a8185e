"""What an agent says: a line an event, for people or as JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime


class Log:
    """Writes lines to standard output.

    Args:
        as_json: one JSON object a line, with the fields of the event.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json

    def say(self, text: str, event: str = "", **fields: object) -> None:
        """One event.

        Args:
            text: for people.
            event: its name: `serving`, `refused`.
            fields: what it is about: `release`, `reason`.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._as_json:
            line = json.dumps({"at": at, "event": event or "note", "text": text, **fields})
        else:
            line = f"{at} {text}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
