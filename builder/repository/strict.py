"""What a manifest must be before anybody acts on it: it may come from a store that lies. Pure.

A file's name becomes a path below a folder, a digest a path below a cache, a model's name a key in
a store. So none may lead out of there, and no two may mean the same place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from builder.repository.manifest import Manifest

_DIGEST = re.compile(r"[0-9a-f]{64}")
_COMPONENT = r"(?!\.{1,2}(?:/|$))[^/\x00-\x1f\x7f]+"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]*")
MOST = 1 << 50
"""Bytes of a file: more than any disk has."""

LONGEST_PART = 255
LONGEST = 1024
"""Bytes of a name: what file systems take of one part, and S3 in all."""


def check(manifest: Manifest, own: str) -> None:
    """Refuses a manifest that is not what its types say, or names what no repository may hold.

    Args:
        manifest: as it was read.
        own: the name of the manifest's own file, which no model may have.

    Raises:
        ValueError: it does; or TypeError.
    """
    _text(manifest.triton, manifest.device, *manifest.toolchain, *manifest.toolchain.values())
    _named(manifest.target)
    for model, entry in manifest.models.items():
        _named(model)
        if model == own:
            raise ValueError(f"a model is named {model}")
        _text(entry.spec, *entry.members)
        numbers = [version.number for version in entry.versions.values()]
        if not all(type(n) is int and n > 0 for n in numbers) or len({*numbers}) < len(numbers):
            raise ValueError(f"{model} has versions {numbers}")
        for name, version in entry.versions.items():
            _named(name)
            _text(version.precision, version.goldens, *version.notes)
            _text(*version.recipe, *version.recipe.values())
            _mapping(version.verdict)
    _files(manifest.tree())


def _files(tree: Iterable[tuple[str, tuple[str, int]]]) -> None:
    names, folders = set[str](), set[str]()
    sizes: dict[str, int] = {}
    for name, (digest, size) in tree:
        if not _PATH.fullmatch(name) or _long(name):
            raise ValueError(f"no name for a file: {name!r:.300}")
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"no sha256 of {name}: {digest!r:.100}")
        if type(size) is not int or not 0 <= size < MOST or sizes.setdefault(digest, size) != size:
            raise ValueError(f"no size of {name}: {size!r:.100}")
        if name in names:
            raise ValueError(f"two files are named {name}")
        names.add(name)
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    if both := names & folders:
        raise ValueError(f"both a file and a folder: {min(both)}")


def fits(path: str) -> bool:
    """Whether a manifest may have a file of that name."""
    try:
        return bool(_PATH.fullmatch(path)) and not _long(path)
    except UnicodeEncodeError:
        return False


def _named(name: str) -> None:
    """Models, versions and targets have names that Triton, stores and file systems all take."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST_PART:
        raise ValueError(f"no name: {name!r:.300}")


def _long(name: str) -> bool:
    encoded = name.encode()  # a lone surrogate raises, as it would at the file system
    return len(encoded) > LONGEST_PART and (
        len(encoded) > LONGEST or any(len(part) > LONGEST_PART for part in encoded.split(b"/"))
    )


def _text(*values: object) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"no text: {value!r:.100}")
        value.encode()


def _mapping(value: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"no object: {value!r:.100}")
