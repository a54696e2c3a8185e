"""The real command line in a process of its own, as people and pods run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
BUILDER = (sys.executable, "-m", "builder")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """What `--json` printed."""
        return json.loads(self.out)


def start(
    *arguments: object,
    env: Mapping[str, str | None] | None = None,
    under: Sequence[str] = (),
    **options,
) -> subprocess.Popen[str]:
    """Starts a command.

    Args:
        arguments: its own.
        env: what differs from this process's; None for what is not there.
        under: a program that runs it.
        options: of `Popen`.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
    return subprocess.Popen(
        [*under, *BUILDER, *map(str, arguments)],
        env={name: value for name, value in environment.items() if value is not None},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process: subprocess.Popen[str], timeout: float = 120) -> Done:
    """How a command ends: never with a traceback."""
    out, err = process.communicate(timeout=timeout)
    done = Done(process.returncode, out, err)
    assert "Traceback" not in err, err
    assert "a bug of triton-builder" not in err, err
    return done


def run(*arguments: object, **options) -> Done:
    """Runs a command to its end."""
    return ended(start(*arguments, **options))


def right(*arguments: object, **options) -> Done:
    """Runs a command that must succeed."""
    done = run(*arguments, **options)
    assert done.code == 0, done.err + done.out
    return done


def wrong(code: int, *arguments: object, **options) -> str:
    """Runs a command that must fail with this code; what it said, which tells place and fix."""
    return failed(code, start(*arguments, **options))


def failed(code: int, process: subprocess.Popen[str], timeout: float = 120) -> str:
    """The same, of one that was started."""
    done = ended(process, timeout)
    assert done.code == code, (done.code, done.err, done.out)
    assert done.err.startswith("error: ") or "\nerror: " in done.err, done.err
    assert "fix:" in done.err, done.err
    return done.err
