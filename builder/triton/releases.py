"""Triton releases and what is in each; the facts are data, in releases.json.

What no source says, or two say differently, is absent there: whoever asks for it is told so
(docs/triton-releases.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from builder.errors import InputError
from builder.triton.opsets import Onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "builder/triton/releases.json"
PAGE = "docs/triton-releases.md"
IMAGE = "nvcr.io/nvidia/tritonserver"


@dataclass(frozen=True)
class Release:
    """One Triton release; None where a fact is not established.

    Attributes:
        name: `24.10`, as container images are tagged.
        server: the server's own version, `2.51.0`.
        onnxruntime: the ONNX Runtime inside.
        onnx: the highest opset and IR version that it loads.
        tensorrt: the TensorRT inside the `-py3` image; another image may have another one.
        cuda, python: those of its containers.
        compute_capability: the lowest that its GPUs may have, `7.5`.
        driver: the driver branch that NVIDIA asks for, `560`; data-centre GPUs may have some
            older ones as well.
        images: name by kind: `py3`, `py3-min`, `py3-sdk`, `vllm-python-py3`, `trtllm-python-py3`.
        sources: fields by the address that says them.
        notes: by field, where sources disagree or one could not be had.
    """

    name: str
    server: str | None = None
    onnxruntime: str | None = None
    onnx: Onnx | None = None
    tensorrt: str | None = None
    cuda: str | None = None
    python: str | None = None
    compute_capability: str | None = None
    driver: str | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def need(self, fact: str) -> str:
        """A fact that is needed.

        Args:
            fact: the name of an attribute that is a text.

        Raises:
            InputError: it is not established.
        """
        value: str | None = getattr(self, fact)
        if value is None:
            raise self._open(fact, self.notes.get(fact, "no source that says it"))
        return value

    @property
    def loads(self) -> Onnx:
        """The highest opset and IR version that its ONNX Runtime loads.

        Raises:
            InputError: they are not established, or it has no ONNX Runtime.
        """
        if self.onnx is None:
            runtime = self.need("onnxruntime")
            raise self._open("onnx", f"nothing about ONNX Runtime {runtime} in its `onnxruntime`")
        return self.onnx

    def _open(self, fact: str, why: str) -> InputError:
        return InputError(
            f"`{fact}` of Triton {self.name} is not established",
            where=f"{FILE} {self.name}",
            found=why,
            expected="a fact with a source",
            fix=f"take another `triton` for the target, or look into "
            f"{self.images.get('py3', f'{IMAGE}:{self.name}-py3')} and add it with its source "
            f"({PAGE} says how)",
        )

    def as_dict(self) -> dict[str, Any]:
        """All that is known, for `--json`."""
        known = {name: value for name, value in vars(self).items() if value}
        return known | ({"onnx": vars(self.onnx)} if self.onnx else {})


def table() -> Mapping[str, Release]:
    """All releases that are known, the oldest first."""
    return {name: _row(name) for name in _data()["releases"]}


def release(
    name: str, where: str = "pyproject.toml [tool.triton-builder.targets] triton"
) -> Release:
    """The release of that name.

    Raises:
        InputError: it is not in the table.
    """
    names = list(_data()["releases"])
    if name not in names:
        raise InputError(
            f"Triton release {name} is not in the release table",
            where=where,
            found=name,
            expected=f"one of {names[0]} to {names[-1]}, as `triton-builder releases --triton` "
            "shows them",
            fix=f"choose one of these, or add a row to {FILE} ({PAGE} says how)",
        )
    return _row(name)


@cache
def _data() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("releases.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    return data


@cache
def _row(name: str) -> Release:
    row, addresses = _data()["releases"][name], _data()["sources"]
    loads = _data()["onnxruntime"].get(row.get("onnxruntime", "").rpartition(".")[0])
    said = {**row["sources"], **({key: ["onnx"] for key in loads["sources"]} if loads else {})}
    dashed = name.replace(".", "-")
    facts = {
        **row,
        "onnx": Onnx(loads["opset"], loads["ir_version"]) if loads else None,
        "images": {kind: f"{IMAGE}:{name}-{kind}" for kind in row["images"]},
        "sources": {
            addresses[key].format(release=name, dashed=dashed): tuple(fields)
            for key, fields in said.items()
        },
    }
    return Release(name=name, **facts)
