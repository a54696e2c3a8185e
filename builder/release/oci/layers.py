"""Which files of a release travel together, and the tar archive that carries them.

Every version is a layer, so is what each model has beside its versions, and so is the manifest:
a change of one model is a layer or two, and all layers unpacked in one place are the repository.
Container engines take some 127 layers at most: a release of more goes by whole models, and one
of very many models by buckets of them, which names fill so that one model stays in its bucket.

An archive holds names and bytes, and nothing of the machine that it was made on: files in order
of their names, time 0, user 0, modes 0644 and 0755, no compression (weights do not shrink).
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from builder.errors import WorkFailedError
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.repository.manifest import Manifest, Outputs

MOST = 100
"""Layers at most, beside the manifest's: below what Docker's and containerd's overlays take."""

CHUNK = 1 << 20
BLOCK = tarfile.BLOCKSIZE
END = b"\0" * (2 * BLOCK)

WEIGHT, CODE, CONFIG, DOC = "weight", "code", "weight.config", "doc"
"""What ModelPack calls the kinds of what lies in a layer."""

ENTRY_POINT = "model.py"
WHITEOUT = ".wh."


@dataclass(frozen=True)
class Layer:
    """Files that travel together.

    Attributes:
        path: the folder or file that they are, for people.
        kind: ModelPack's word for it.
        files: by their path in the repository.
    """

    path: str
    kind: str
    files: Mapping[str, tuple[str, int]]


def plan(manifest: Manifest, content: bytes) -> tuple[Layer, ...]:
    """The layers of a release, the manifest's last.

    Args:
        manifest: what the release holds.
        content: its bytes, which are a file of the release too.

    Raises:
        WorkFailedError: a file has a name that layers cannot carry.
    """
    for name, _ in manifest.tree():
        if any(part.startswith(WHITEOUT) for part in PurePosixPath(name).parts):
            raise WorkFailedError(
                "a name that means a deletion in layers",
                where=name,
                expected=f"a name that does not start with {WHITEOUT}",
            )
    own = {manifests.FILE: (hashlib.sha256(content).hexdigest(), len(content))}
    return (*_models(manifest), Layer(manifests.FILE, DOC, own))


def size(layer: Layer) -> int:
    """Bytes of a layer's archive."""
    headers = sum(len(_header(name, None)) for name in _folders(layer.files))
    files = sum(len(_header(name, n)) + n + -n % BLOCK for name, (_, n) in layer.files.items())
    return headers + files + len(END)


def stream(layer: Layer, repository: Path) -> Iterator[bytes]:
    """A layer's archive, in chunks; what is read is held against the manifest.

    Raises:
        WorkFailedError: a file is not there any more, or not as the manifest says.
    """
    for name in _folders(layer.files):
        yield _header(name, None)
    for name, (sha256, length) in sorted(layer.files.items()):
        yield _header(name, length)
        yield from _content(repository, name, sha256, length)
        yield b"\0" * (-length % BLOCK)
    yield END


def _models(manifest: Manifest) -> list[Layer]:
    entries = sorted(manifest.models.items())
    if sum(1 + len(entry.versions) for _, entry in entries) <= MOST:
        found = []
        for model, entry in entries:
            found.append(Layer(model, CONFIG, _below(model, entry.files)))
            for own in sorted(entry.versions.values(), key=lambda v: v.number):
                kind = CODE if ENTRY_POINT in own.files else WEIGHT
                folder = f"{model}/{own.number}"
                found.append(Layer(folder, kind, _below(folder, own.files)))
        return [layer for layer in found if layer.files]
    whole = {model: _below(model, entry.tree()) for model, entry in entries}
    if len(whole) <= MOST:
        return [Layer(model, WEIGHT, files) for model, files in whole.items() if files]
    buckets: dict[int, dict[str, tuple[str, int]]] = {}
    for model, files in whole.items():
        number = int.from_bytes(hashlib.sha256(model.encode()).digest()[:4]) % MOST
        buckets.setdefault(number, {}).update(files)
    return [Layer(f"models, part {n}", WEIGHT, f) for n, f in sorted(buckets.items()) if f]


def _below(
    folder: str, files: Outputs | Iterable[tuple[str, tuple[str, int]]]
) -> dict[str, tuple[str, int]]:
    pairs = files.items() if isinstance(files, dict) else files
    return {f"{folder}/{name}": content for name, content in pairs}


def _folders(files: Iterable[str]) -> list[str]:
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    return sorted(parents - {"."})


def _header(name: str, length: int | None) -> bytes:
    """A file's header; a folder's for no length."""
    entry = tarfile.TarInfo(name)
    entry.mode = 0o755 if length is None else 0o644
    entry.type = tarfile.DIRTYPE if length is None else tarfile.REGTYPE
    entry.size = length or 0
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(repository: Path, name: str, sha256: str, length: int) -> Iterator[bytes]:
    left, hasher = length, hashlib.sha256()
    if not length:
        _same(repository, name, hasher.hexdigest(), sha256)
    try:
        with (repository / name).open("rb", buffering=0) as file:
            while left and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                hasher.update(chunk)
                if left:
                    yield chunk
                else:
                    _same(repository, name, hasher.hexdigest(), sha256)
                    yield chunk  # the last one only when all of them are right
            longer = bool(file.read(1))
    except OSError as e:
        raise _changed(repository, name, e.strerror) from e
    if left or longer:
        raise _changed(repository, name, "a file that is " + ("shorter" if left else "longer"))


def _same(repository: Path, name: str, found: str, expected: str) -> None:
    if found != expected:
        raise _changed(repository, name, f"sha256 {found}", f"sha256 {expected}")


def _changed(
    repository: Path, name: str, found: str | None, expected: str = "the file that was built"
) -> WorkFailedError:
    return WorkFailedError(
        "a file is not as it was built",
        where=f"{repository.parent.name}/{repository.name}/{name}",
        found=found,
        expected=expected,
        fix="triton-builder build, which puts it right; nothing was published",
    )
