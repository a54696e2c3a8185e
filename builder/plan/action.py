"""Actions: one unit of work each, as a value, and the key that names its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Needs:
    """What an action takes of a machine while it runs. No part of its key.

    Attributes:
        cpus: cores. One: a worker computes with one thread (docs/decisions/0004).
        memory: bytes that it may come to hold.
        gpus: devices to itself.
        capability: compute capability that the device must have, `9.0`; None where any will do.
        image: of the container that it runs in; None for this machine's own Python.
    """

    cpus: int = 1
    memory: int = 0
    gpus: int = 0
    capability: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Action:
    """One stage applied to one subject.

    Attributes:
        id: `export minilm`; unique in a plan, for people and for "what changed since".
            Not part of the key: the same work under another name is the same work.
        stage: a module of `builder.stages`.
        params: JSON values for the stage.
        files: project files that the stage reads as its spec says, by role.
        inputs: label → id of the action whose output it reads.
        tools: what can change the output: tool → version.
        affinity: actions of one affinity profit from one worker (a model loaded once).
        needs: what it takes of a machine.
    """

    id: str
    stage: str
    params: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    affinity: str = ""
    needs: Needs = Needs()

    def ingredients(self, files: Mapping[str, str], inputs: Mapping[str, str]) -> dict[str, Any]:
        """All that the output depends on, given digests of the files and of the inputs."""
        return {
            "stage": self.stage,
            "params": self.params,
            "files": {role: [path, files[path]] for role, path in self.files.items()},
            "inputs": dict(inputs),
            "tools": dict(self.tools),
        }


def digest(value: Any) -> str:
    """The sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def why(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In one line, what differs between the ingredients of the last run and of this one."""
    changes = [
        f"{path} changed"
        for role, (path, value) in now["files"].items()
        if before["files"].get(role, [None, None])[1] != value
    ]
    changes += [
        f"{tool} {_show(before['tools'].get(tool))} → {version}"
        for tool, version in now["tools"].items()
        if before["tools"].get(tool) != version
    ]
    changes += [
        f"{path} {_show(old)} → {_show(new)}"
        for path, old, new in _differences(before["params"], now["params"])
    ]
    changes += [
        f"output of {label} changed"
        for label, value in now["inputs"].items()
        if before["inputs"].get(label) != value
    ]
    changes += [
        f"{path} no longer read"
        for role, (path, _) in before["files"].items()
        if role not in now["files"]
    ]
    for kind in ("tools", "inputs"):
        changes += [f"{name} no longer used" for name in before[kind] if name not in now[kind]]
    return ", ".join(changes) or "its stage changed"


def _differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in [*new, *(k for k in old if k not in new)]:
            below = f"{path}.{key}" if path else str(key)
            found += _differences(old.get(key), new.get(key), below)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            found
            for place, (one, other) in enumerate(zip(old, new, strict=True))
            for found in _differences(one, other, f"{path}.{place}")
        ]
    return [] if old == new else [(path, old, new)]


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - one line in all
