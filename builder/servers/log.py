"""What tritonserver's log says: which models loaded, which not and why, trouble, last words."""

from __future__ import annotations

import re
import time
from typing import Protocol

from builder.errors import WorkFailedError
from builder.servers import causes


class Logging(Protocol):
    """What has a log."""

    def log(self) -> str:
        """All of it so far."""
        ...


COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # ONNX Runtime paints its warnings
REFUSED = re.compile(r"\"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?P<why>.*)\"")
LOADED = re.compile(r"\"successfully loaded '([^']+)'\"")
UNREADABLE = re.compile(r"\"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.*)\"")
TRACE = r"\n\nAt:"
"""After it, a Python model's error says where in its code; written as Triton escapes it."""
STARTED = "Started HTTPService"
"""What a server logs when all that it loads at its start has been loaded."""
SETTLING = 3.0
"""Seconds that a container's log may lag behind."""
TICK = 0.05
CHATTER = re.compile(r"I\d{4} ")
TAIL = 20


def await_start(server: Logging) -> None:
    """Waits until all that a live server said at its start can be read here."""
    deadline = time.monotonic() + SETTLING
    while STARTED not in server.log() and time.monotonic() < deadline:
        time.sleep(TICK)


def refusals(log: str) -> dict[str, str]:
    """The models that did not load (`minilm, version 1001000`), and what Triton says of each."""
    found = {m["model"]: m["why"] for m in UNREADABLE.finditer(log)}
    found |= {f"{m['model']}, version {m['version']}": m["why"] for m in REFUSED.finditer(log)}
    return {
        name: why.partition(TRACE)[0].replace("Internal: TritonModelException: ", "").strip()
        for name, why in found.items()
    }


def loaded(log: str) -> list[str]:
    """The models that loaded, warm-up included, in that order."""
    return LOADED.findall(log)


def trouble(log: str) -> list[str]:
    """The lines that warn or tell of an error (`W1123 …`, `E1123 …`)."""
    return [line for line in log.splitlines() if re.match(r"[WE]\d{4} ", line)]


def tail(log: str, most: int = TAIL) -> str:
    """The last lines, without Triton's wide tables, which repeat what was said before."""
    lines = [line[:1000] for line in log.splitlines() if line and line[0] not in "|+"]
    return "\n".join(lines[-most:])


def last_words(log: str) -> str:
    """The end of a log without Triton's own chatter: warnings, errors, tracebacks, prints."""
    return tail("\n".join(line for line in log.splitlines() if not CHATTER.match(line)), 40)


def failure(problem: str, where: str, log: str) -> WorkFailedError:
    """Why a server did not become live: the models that its log blames, or `problem`."""
    refused = refusals(log)
    found = (causes.of(f"{why}\n{causes.evidence(log, _model(n))}") for n, why in refused.items())
    cause = next(filter(None, found), None)
    if refused:
        problem = f"tritonserver cannot load {' and '.join(refused)}"
    return WorkFailedError(
        f"{problem}: {cause.problem}" if cause else problem,
        where=where,
        found=cause.found if cause else None,
        expected=cause.expected if cause else None,
        fix=cause.fix if cause else "mend what is said below",
        detail="\n".join(f"{name}: {why}" for name, why in refused.items()) or tail(log),
    )


def _model(refused: str) -> str:
    """The model of `minilm, version 1001000`."""
    return refused.partition(", version ")[0]
