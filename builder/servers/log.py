"""What tritonserver's log says: which models loaded, which not and why, trouble, last words."""

from __future__ import annotations

import re

from builder.errors import WorkFailedError

COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # ONNX Runtime paints its warnings
REFUSED = re.compile(r"\"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?P<why>.*)\"")
LOADED = re.compile(r"\"successfully loaded '([^']+)'\"")
UNREADABLE = re.compile(r"\"Poll failed for model directory '(?P<model>[^']+)': (?P<why>.*)\"")
TRACE = r"\n\nAt:"
"""After it, a Python model's error says where in its code; written as Triton escapes it."""
CHATTER = re.compile(r"I\d{4} ")
TAIL = 20


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
    return WorkFailedError(
        f"tritonserver cannot load {' and '.join(refused)}" if refused else problem,
        where=where,
        fix="mend what is said below",
        detail="\n".join(f"{name}: {why}" for name, why in refused.items()) or tail(log),
    )
