"""Triton releases and what each can load; the facts are data, in releases.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from builder.errors import InputError


@dataclass(frozen=True)
class Release:
    """One Triton release.

    Attributes:
        name: `24.10`, as container images are tagged.
        server: the server's own version.
        onnxruntime: the ONNX Runtime inside.
        opset, ir_version: the highest that artifacts for it are written in.
        source: where these facts stand.
    """

    name: str
    server: str
    onnxruntime: str
    opset: int
    ir_version: int
    source: str


@cache
def table() -> dict[str, Release]:
    """All releases that are known."""
    text = resources.files(__package__).joinpath("releases.json").read_text(encoding="utf-8")
    return {name: Release(name=name, **facts) for name, facts in json.loads(text).items()}


def release(name: str) -> Release:
    """The release of that name.

    Raises:
        InputError: it is not in the table.
    """
    known = table()
    if name not in known:
        raise InputError(
            f"Triton release {name} is not in the release table",
            where="pyproject.toml [tool.triton-builder.targets]",
            found=name,
            expected=", ".join(known),
            fix="choose one of these, or add a row to builder/triton/releases.json with what "
            "NVIDIA's release notes and ONNX Runtime's compatibility table say",
        )
    return known[name]
