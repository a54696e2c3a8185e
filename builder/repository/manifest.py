"""The manifest: every file of a repository with its digest, and where it came from.

It holds nothing that varies from run to run, so its own digest names the content; figures and
times belong to the report.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from builder.errors import InputError, WorkFailedError
from builder.repository import strict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

FILE = "manifest.json"
SCHEMA = 1
KEYS = {"schema", "target", "models", "triton"}
"""What every manifest of every version of this builder has."""
SIGNS = tuple(f'\n  "{key}": '.encode() for key in KEYS)

Outputs = dict[str, tuple[str, int]]
"""File → (sha256, size in bytes)."""


@dataclass(frozen=True)
class VersionEntry:
    """One version of a model in a repository.

    Attributes:
        number: its folder.
        precision: fp32, fp16 or int8.
        files: relative to the version folder.
        goldens: digest of the goldens that it was measured against.
        recipe: how the artifact was made: `way` of the export, `recipe` of quantisation.
        notes: what a reader must know ("untrained weights").
        verdict: `passed`, on which `server`, and which `checks`; a version that was not
            validated says so.
    """

    number: int
    precision: str
    files: Outputs
    goldens: str
    recipe: dict[str, str]
    notes: list[str]
    verdict: dict[str, Any]


@dataclass(frozen=True)
class ModelEntry:
    """One Triton model: files beside its versions (config.pbtxt, warm-up data), and these.

    Attributes:
        spec: digest of its spec.
        files: relative to the model's folder.
        versions: by the author's name for them.
        members: the models that it calls, where it is an ensemble.
    """

    spec: str
    files: Outputs
    versions: dict[str, VersionEntry]
    members: list[str] = field(default_factory=list)

    def tree(self) -> Iterator[tuple[str, tuple[str, int]]]:
        """All files, relative to the model's folder."""
        yield from self.files.items()
        for version in self.versions.values():
            for name, content in version.files.items():
                yield f"{version.number}/{name}", content


@dataclass(frozen=True)
class Manifest:
    """What a repository holds."""

    target: str
    triton: str
    device: str
    toolchain: dict[str, str]
    models: dict[str, ModelEntry]
    schema: int = field(default=SCHEMA)

    def tree(self) -> Iterator[tuple[str, tuple[str, int]]]:
        """All files, relative to the repository."""
        for model, entry in self.models.items():
            for name, content in entry.tree():
                yield f"{model}/{name}", content

    def only(self, names: Collection[str]) -> Manifest:
        """The same with these models alone, and the members of their ensembles.

        Raises:
            InputError: there is no such model.
        """
        found, todo = set[str](), list(names)
        while todo:
            model = todo.pop()
            if model not in self.models:
                raise InputError(
                    "there is no such model in it",
                    where=self.digest[:19],
                    found=model,
                    expected=", ".join(sorted(self.models)),
                )
            if model not in found:
                found.add(model)
                todo += self.models[model].members
        return replace(self, models={n: e for n, e in self.models.items() if n in found})

    def encode(self) -> bytes:
        """The manifest's one form."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        models = {
            name: {
                "spec": entry.spec,
                "members": entry.members,
                "files": _shown(entry.files),
                "versions": {
                    version: {**vars(own), "files": _shown(own.files)}
                    for version, own in entry.versions.items()
                },
            }
            for name, entry in self.models.items()
        }
        value = {f.name: getattr(self, f.name) for f in fields(self)} | {"models": models}
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        return text.encode() + b"\n"

    @cached_property
    def digest(self) -> str:
        """Names the content."""
        return "sha256:" + hashlib.sha256(self.encode()).hexdigest()


def decode(content: bytes, where: str) -> Manifest:
    """Reads a manifest, which may come from anywhere.

    Raises:
        WorkFailedError: it is not one that this version understands, or that any may act on.
    """
    try:
        value = json.loads(content)
        if value["schema"] != SCHEMA:
            raise WorkFailedError(
                "the manifest is of another schema",
                where=where,
                found=value["schema"],
                expected=SCHEMA,
                fix="use the version of triton-builder that wrote it, or build again",
            )
        models = {name: _model(entry) for name, entry in value.pop("models").items()}
        manifest = Manifest(models=models, **value)
        strict.check(manifest, FILE)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise WorkFailedError(
            "not a manifest",
            where=where,
            found=repr(e),
            fix="build again; or move the folder away first, if it is not the builder's",
        ) from e
    return manifest


def is_ours(repository: Path) -> bool:
    """Whether a folder's manifest is one that some version of this builder wrote."""
    try:
        content = (repository / FILE).read_bytes()
        if content.startswith(b"{\n") and all(sign in content for sign in SIGNS):
            return True  # as it was written: a thousand models need not be read for that
        value = json.loads(content)
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.keys() >= KEYS


def read(repository: Path) -> Manifest | None:
    """The manifest of a repository; None where there is none."""
    try:
        content = (repository / FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return decode(content, f"{repository.name}/{FILE}")


def _model(entry: Mapping[str, Any]) -> ModelEntry:
    versions = {
        name: VersionEntry(**{**version, "files": _outputs(version["files"])})
        for name, version in entry["versions"].items()
    }
    members = list(entry.get("members", []))
    return ModelEntry(entry["spec"], _outputs(entry["files"]), versions, members)


def _shown(files: Outputs) -> dict[str, dict[str, str | int]]:
    return {name: {"sha256": digest, "size": size} for name, (digest, size) in files.items()}


def _outputs(files: Mapping[str, Any]) -> Outputs:
    return {name: (content["sha256"], content["size"]) for name, content in files.items()}
