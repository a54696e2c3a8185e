"""What a release's folder serves, as far as a move must know: versions, and who calls whom."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.errors import BuilderError
from builder.plan.action import digest
from builder.repository import manifest as manifests
from builder.triton import probe, text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from builder.repository.manifest import ModelEntry
    from builder.triton.probe import Probe

CONFIG = "config.pbtxt"


@dataclass(frozen=True)
class Model:
    """One model or ensemble.

    Attributes:
        versions: by number, a digest of all that Triton loads it with: its files, what warms it
            up, and the config but for which versions are served. Versions of one digest are one.
        served: a digest of all that Triton reads.
        probes: a digest of what it is asked.
        pins: the members that it calls, and their versions, where it is an ensemble.
    """

    versions: Mapping[int, str]
    served: str
    probes: str = ""
    pins: frozenset[tuple[str, int]] = frozenset()

    @property
    def members(self) -> set[str]:
        """The models that it calls."""
        return {name for name, _ in self.pins}


@dataclass(frozen=True)
class Tree:
    """A release as it lies in a folder.

    Attributes:
        folder: where it lies.
        release: `sha256:<hex>`.
        entries: what the manifest says of each model that is there: a pod may have pulled some of
            a release only.
        models: what follows from that for a move.
    """

    folder: Path
    release: str
    entries: Mapping[str, ModelEntry]
    models: Mapping[str, Model]

    def probe(self, model: str, number: int) -> Probe:
        """A version's probe.

        Raises:
            WorkFailedError: there is none.
        """
        folder = self.folder / model
        return probe.read(number, lambda name: (folder / name).read_bytes(), model)

    def only(self, names: Collection[str]) -> Tree:
        """The same, as far as these models go."""
        return replace(
            self,
            entries={name: entry for name, entry in self.entries.items() if name in names},
            models={name: model for name, model in self.models.items() if name in names},
        )

    def beside(self, other: Tree) -> Tree:
        """The same, with what another tree has besides."""
        return replace(
            self,
            entries={**other.entries, **self.entries},
            models={**other.models, **self.models},
        )

    def at(self, folder: Path) -> Tree:
        """The same, in another place."""
        return replace(self, folder=folder)


def release_of(folder: Path) -> str:
    """The release that a folder says it holds, "" where it says nothing."""
    try:
        content = (folder / manifests.FILE).read_bytes()
    except OSError:
        return ""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read(folder: Path) -> Tree | None:
    """The release that lies in a folder; None where there is none that can be read."""
    try:
        content = (folder / manifests.FILE).read_bytes()
        manifest = manifests.decode(content, manifests.FILE)
        entries = {n: entry for n, entry in manifest.models.items() if (folder / n).is_dir()}
        models = {name: model(e, config(folder / name)) for name, e in entries.items()}
    except (OSError, ValueError, BuilderError):
        return None
    return Tree(folder, f"sha256:{hashlib.sha256(content).hexdigest()}", entries, models)


def ready(index: Mapping[str, Mapping[int, str]], model: str) -> set[int]:
    """The versions of a model that answer, as a server's index says."""
    return {number for number, state in index.get(model, {}).items() if state == "READY"}


def config(folder: Path) -> str:
    """A model's config."""
    return (folder / CONFIG).read_text(encoding="utf-8")


def model(entry: ModelEntry, said: str) -> Model:
    """A model out of its manifest's entry and the text of its config."""
    beside = sorted(
        (name, sha)
        for name, (sha, _) in entry.files.items()
        if name != CONFIG and not _is_probe(name)
    )
    shared = text.shared(said)
    versions = {
        version.number: digest(
            [shared, beside, sorted((name, sha) for name, (sha, _) in version.files.items())]
        )
        for version in entry.versions.values()
    }
    served = digest([said, sorted(versions.items())])
    probes = digest(sorted((n, sha) for n, (sha, _) in entry.files.items() if _is_probe(n)))
    return Model(versions, served, probes, text.pins(said))


def _is_probe(name: str) -> bool:
    return name.startswith(probe.PREFIX)
