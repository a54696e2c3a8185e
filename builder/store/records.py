"""Records of actions by key: a small file of JSON each."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from builder.files import write_atomically
from builder.plan.action import digest
from builder.plan.evaluate import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

A_KEY = 8
"""Records kept for one key: the same key may have met different discovered reads."""

PARTS = {"stage", "params", "files", "inputs", "tools"}
"""What a key is made of."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Records:
    """`<root>/ab/<key>.json`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._name = str(root)

    def path(self, key: str) -> Path:
        """Where the records of a key lie, or would."""
        return Path(self._file(key))

    def of(self, key: str) -> list[Record]:
        """The records of a key, newest first; none where the file is torn or not there."""
        try:
            with open(self._file(key), "rb", buffering=0) as file:  # noqa: PTH123 - asked often
                return decode(file.readall(), key)
        except (OSError, ValueError):
            return []

    def keep(self, record: Record) -> None:
        """Adds a record to those of its key."""
        others = [r for r in self.of(record.key) if r.reads != record.reads]
        write_atomically(self.path(record.key), encode([record, *others]))

    def used(self, key: str) -> None:
        """Notes that a key was asked for now."""
        with contextlib.suppress(OSError):
            os.utime(self._file(key))

    def drop(self, key: str) -> None:
        """Forgets a key."""
        self.path(key).unlink(missing_ok=True)

    def _file(self, key: str) -> str:
        return f"{self._name}/{key[:2]}/{key}.json"

    def __iter__(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every key, with its file's status."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            for path in folder.iterdir():
                if path.suffix == ".json" and not path.name.startswith("."):
                    yield path.stem, path.stat()


def encode(records: Sequence[Record]) -> bytes:
    """Records of one key as bytes."""
    return json.dumps([asdict(r) for r in records[:A_KEY]], ensure_ascii=False).encode()


def decode(content: bytes, key: str, *, trusted: bool = True) -> list[Record]:
    """Records of one key out of bytes.

    Args:
        content: what `encode` gave, or somebody claims it did.
        key: the key that they must be of.
        trusted: False where the bytes come from elsewhere: then the key is computed again,
            and file names that leave the folder are refused.

    Raises:
        ValueError: they are none.
    """
    try:
        records = [_record(row) for row in json.loads(content)]
        sound = all(r.key == key for r in records)
        if not trusted:
            sound = sound and all(_sound(r) for r in records)
    except (KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError("not the records of an action") from e
    if not sound:
        raise ValueError("the records of another action")
    return records


def _record(row: dict[str, Any]) -> Record:
    outputs = {name: (sha, size) for name, (sha, size) in row.pop("outputs").items()}
    record = Record(outputs=outputs, **row)
    parts: list[Any] = [record.facts, record.reads, record.ingredients]
    figures: list[Any] = [record.seconds, record.memory]
    if not all(isinstance(p, dict) for p in parts) or not record.ingredients.keys() >= PARTS:
        raise ValueError("a record without its parts")
    if not all(isinstance(f, int | float) for f in figures):
        raise ValueError("a record without figures")
    return record


def _sound(record: Record) -> bool:
    """Whether a record may be believed to be of its key, and can do no harm on this disk."""
    names = [PurePosixPath(name) for name in record.outputs]
    outputs: Mapping[str, Any] = record.outputs
    reads: Mapping[str, Any] = record.reads
    return (
        digest(record.ingredients) == record.key
        and all(not n.is_absolute() and ".." not in n.parts and n.parts for n in names)
        and all(
            isinstance(size, int) and size >= 0 and bool(_SHA256.fullmatch(sha))
            for sha, size in outputs.values()
        )
        and all(isinstance(v, str) and "\0" not in v for p in reads.items() for v in p)
    )
