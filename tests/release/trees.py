"""Repositories as a build leaves them, written by hand: small, proven, and no two alike."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from builder.repository.manifest import FILE, Manifest, ModelEntry, VersionEntry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PASSED = {"passed": True, "server": "tritonserver 2.51.0 (24.10), embedded", "checks": ["ready"]}


def repository(
    folder: Path,
    models: Mapping[str, Mapping[str, Mapping[str, bytes]]],
    *,
    target: str = "cpu",
    members: Mapping[str, list[str]] | None = None,
    verdict: Mapping[str, object] = PASSED,
    config: str = "",
) -> Manifest:
    """Writes a repository, and gives its manifest.

    Args:
        folder: where; made.
        models: model → version (a number) → file → bytes.
        target: what it is for.
        members: of those models that are ensembles.
        verdict: of every version.
        config: what every config.pbtxt says besides.
    """
    entries = {}
    for model, versions in models.items():
        text = f'name: "{model}"\n{config}# {", ".join(versions)}\n'
        files = {"config.pbtxt": _write(folder / model / "config.pbtxt", text.encode())}
        made = {
            version: VersionEntry(
                number=int(version),
                precision="fp32",
                files={n: _write(folder / model / version / n, c) for n, c in content.items()},
                goldens="0" * 64,
                recipe={},
                notes=[],
                verdict=dict(verdict),
            )
            for version, content in versions.items()
        }
        entries[model] = ModelEntry("0" * 64, files, made, (members or {}).get(model, []))
    manifest = Manifest(target, "24.10", "cpu", {"triton-builder": "0"}, entries)
    (folder / FILE).write_bytes(manifest.encode())
    return manifest


def _write(path: Path, content: bytes) -> tuple[str, int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest(), len(content)


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
