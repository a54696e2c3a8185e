"""Actions: one unit of work each, as a value, and the key that names its result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    """

    id: str
    stage: str
    params: Mapping[str, Any]
    files: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, str] = field(default_factory=dict)
    affinity: str = ""

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


def why(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """In one line, what differs between the ingredients of the last run and of this one."""
    if before is None:
        return "never built"
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
    return ", ".join(changes) or "its result is no longer in the store"


def _differences(old: Any, new: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in [*new, *(k for k in old if k not in new)]:
            below = f"{path}.{key}" if path else str(key)
            found += _differences(old.get(key), new.get(key), below)
        return found
    return [] if old == new else [(path, old, new)]


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - one line in all
