"""What each action of a project was the last time: its key, under its id."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from builder.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path


class History:
    """Keys by action id, in one file; read when it is first asked for.

    It serves reasons and estimates. Losing it costs neither a result nor a right decision.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys: dict[str, str] | None = None
        self._changed = False

    def key(self, action: str) -> str | None:
        """The key of an action's last result, hit or not."""
        return self._read().get(action)

    def note(self, action: str, key: str) -> None:
        """Notes the key of an action's result."""
        keys = self._read()
        if keys.get(action) != key:
            keys[action] = key
            self._changed = True

    def save(self) -> None:
        """Writes what was noted."""
        if self._changed:
            write_atomically(self._file, json.dumps(self._read()).encode())
            self._changed = False

    def _read(self) -> dict[str, str]:
        if self._keys is None:
            try:
                found = json.loads(self._file.read_bytes())
            except (OSError, ValueError):
                found = {}
            sound = isinstance(found, dict) and all(isinstance(k, str) for k in found.values())
            self._keys = found if sound else {}
        return self._keys
