"""Roots: repositories that were built out of a store, and the keys that they stand for.

roots/<name>.json   {"repository": its path, "keys": [...]}
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.files import write_atomically
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True)
class Root:
    """A repository, while it exists, and the actions that it came out of."""

    repository: Path
    keys: frozenset[str]


class Roots:
    """The repositories of all projects that use a store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def hold(self, repository: Path, keys: Iterable[str], *, partial: bool) -> None:
        """Notes what a repository came out of.

        Args:
            repository: where it lies.
            keys: of all actions and verdicts of the build.
            partial: whether other models were kept from the build before, and with them their
                keys.
        """
        before = self._read(self._file(repository))
        kept = set(keys) | (before.keys if before and partial else set())
        if before is None or before.keys != kept:
            row = {"repository": str(repository), "keys": sorted(kept)}
            write_atomically(self._file(repository), json.dumps(row).encode())

    def repositories(self) -> list[Path]:
        """Where the repositories lie, or lay."""
        roots = [self._read(file) for file in self._folder.glob("*.json")]
        return [root.repository for root in roots if root]

    def __iter__(self) -> Iterator[Root]:
        """Those whose repository is still there; what stands for others is forgotten."""
        for file in self._folder.glob("*.json"):
            root = self._read(file)
            if root is None or not (root.repository / manifests.FILE).is_file():
                file.unlink(missing_ok=True)
            else:
                yield root

    def _file(self, repository: Path) -> Path:
        return self._folder / f"{hashlib.sha256(str(repository).encode()).hexdigest()}.json"

    @staticmethod
    def _read(file: Path) -> Root | None:
        try:
            row = json.loads(file.read_bytes())
            return Root(Path(row["repository"]), frozenset(map(str, row["keys"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None
