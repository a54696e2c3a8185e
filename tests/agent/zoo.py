"""Releases of small Python models, each with one purpose: sound ones, and ones with one fault each.

`m` answers x times a factor that its version has; `e` is an ensemble that calls it.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.release import move, publish
from builder.release.store import ReleaseStore
from builder.repository.manifest import FILE, Manifest, ModelEntry, VersionEntry
from builder.triton import probe, wire
from builder.triton.probe import Expected, Probe
from builder.triton.wire import Tensor

if TYPE_CHECKING:
    from pathlib import Path

IO = """max_batch_size: 8
input { name: "x" data_type: TYPE_INT32 dims: [2] }
output { name: "y" data_type: TYPE_INT32 dims: [2] }
"""

CODE = """
import os, signal, time
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.factor = {factor}
        print("INIT", args["model_name"], args["model_version"], flush=True)
        {start}

    def execute(self, requests):
        return [self.answer(r) for r in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        {fault}
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", x * self.factor)])
"""

WARMUP = """model_warmup {{ name: "rows-{size}" batch_size: {size} inputs {{ key: "x" value {{
  data_type: TYPE_INT32 dims: [2] input_data_file: "x.bin" }} }} }}
"""

PASSED = {"passed": True, "server": "a server", "checks": ["ready"]}


@dataclass(frozen=True)
class Model:
    """One model of a release.

    Attributes:
        versions: factor by number.
        start: code of `initialize`.
        fault: code of `answer`, which has `x`.
        config: more of its config.
        warmup: batch sizes.
        instances: how many.
        claims: what its probes claim as a factor; what is true where None.
        steps: member and version, where it is an ensemble; one after the other.
    """

    versions: dict[int, int] = field(default_factory=lambda: {1: 1})
    start: str = "pass"
    fault: str = "pass"
    config: str = ""
    warmup: tuple[int, ...] = ()
    instances: int = 1
    claims: int | None = None
    steps: tuple[tuple[str, int], ...] = ()

    def text(self, name: str) -> str:
        head = f'name: "{name}"\n{IO}{self.config}'
        numbers = ", ".join(map(str, self.versions))
        head += f"version_policy {{ specific {{ versions: [{numbers}] }} }}\n"
        if self.steps:
            return f'{head}platform: "ensemble"\nensemble_scheduling {{\n{self._steps()}}}\n'
        head += f'backend: "python"\ninstance_group {{ count: {self.instances} kind: KIND_CPU }}\n'
        return head + "".join(WARMUP.format(size=size) for size in self.warmup)

    def _steps(self) -> str:
        lines, wire_ = "", "x"
        for place, (member, number) in enumerate(self.steps, 1):
            out = "y" if place == len(self.steps) else f"w{place}"
            lines += f'  step {{ model_name: "{member}" model_version: {number}\n'
            lines += f'    input_map {{ key: "x" value: "{wire_}" }}\n'
            lines += f'    output_map {{ key: "y" value: "{out}" }} }}\n'
            wire_ = out
        return lines

    def files(self, name: str) -> dict[str, bytes]:
        """The files beside versions."""
        found = {"config.pbtxt": self.text(name).encode()}
        for number, factor in self.versions.items():
            found |= probe.files(asked(name, number, self.claims or factor))
        if self.warmup:
            found["warmup/x.bin"] = bytes(8)
        return found

    def content(self, factor: int) -> dict[str, bytes]:
        """The files of a version."""
        if self.steps:
            return {"ensemble": b"Triton's own\n"}
        code = CODE.format(factor=factor, start=self.start, fault=self.fault)
        return {"model.py": code.encode()}


def asked(name: str, number: int, factor: int) -> Probe:
    import struct

    x, y = (struct.pack("<2i", 3 * f, 5 * f) for f in (1, factor))
    header, body = wire.request([Tensor("x", "INT32", (1, 2), x)], ["y"])
    expected = Expected(Tensor("y", "INT32", (1, 2), y), {"mismatch": 0.0})
    path = probe.path(name, number)
    return Probe(path, number, header, body, batched=True, outputs=(expected,))


def repository(folder: Path, models: dict[str, Model], target: str = "cpu") -> Manifest:
    """Writes a repository as a build leaves it."""
    entries = {}
    for name, model in models.items():
        files = {n: _write(folder / name / n, c) for n, c in model.files(name).items()}
        versions = {
            str(number): VersionEntry(
                number=number,
                precision="ensemble" if model.steps else "fp32",
                files={
                    n: _write(folder / name / str(number) / n, c)
                    for n, c in model.content(factor).items()
                },
                goldens="0" * 64,
                recipe={},
                notes=[],
                verdict=dict(PASSED),
            )
            for number, factor in model.versions.items()
        }
        members = sorted({member for member, _ in model.steps})
        entries[name] = ModelEntry("0" * 64, files, versions, members)
    manifest = Manifest(target, "24.10", "cpu", {"triton-builder": "0"}, entries)
    (folder / FILE).write_bytes(manifest.encode())
    return manifest


def _write(path: Path, content: bytes) -> tuple[str, int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest(), len(content)


class Store:
    """A release store in a folder, to publish to and to promote in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = (folder / "store").as_uri()
        self.store = ReleaseStore(self.url, create=True)
        self._count = 0

    def publish(self, models: dict[str, Model]) -> str:
        """Publishes a release; gives its name."""
        self._count += 1
        folder = self.folder / f"repository{self._count}"
        repository(folder, models)
        return asyncio.run(publish.publish(folder, self.store, publish.Options())).release

    def promote(self, release: str, channel: str = "prod") -> None:
        asyncio.run(move.promote(self.store, channel, release))

    def rollback(self, channel: str = "prod") -> None:
        asyncio.run(move.rollback(self.store, channel, None))
