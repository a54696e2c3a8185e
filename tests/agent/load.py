"""Constant load from a process of its own, and what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.servers.server import Server

CLIENT = Path(__file__).with_name("client.py")


@dataclass
class Answers:
    """What the clients wrote down."""

    rows: list[dict] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        return [f"{r['how']} {r['model']}: {r['error']}" for r in self.rows if "error" in r]

    def pairs(self, model: str) -> set[tuple[int, float]]:
        """Version and factor of every answer."""
        return {(r["version"], r["factor"]) for r in self.rows if r["model"] == model}

    def after(self, moment: float) -> Answers:
        """Of what was asked after a moment, in seconds of the epoch."""
        return Answers([r for r in self.rows if r["asked"] > moment])

    def between(self, begin: float, end: float) -> Answers:
        """Of what was asked after one moment and answered before another."""
        return Answers([r for r in self.rows if r["asked"] > begin and r["answered"] < end])

    def slowest(self) -> float:
        return max(r["answered"] - r["asked"] for r in self.rows)


@contextmanager
def load(server: Server, file: Path, *models: str) -> Iterator[Answers]:
    """Clients at work while the block lasts; the answers are there afterwards."""
    found = Answers()
    command = [sys.executable, str(CLIENT), server.http, server.grpc, str(file), *models]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield found
        assert process.stdin
        process.stdin.close()
        assert process.wait(90) == 0
    found.rows += [json.loads(line) for line in file.read_text().splitlines()]
