"""Times that tell Triton what to load anew, and what not.

Triton loads a version anew only where its folder, or what lies beside it, has a later time than
when it was loaded; the later of mtime and ctime counts (`ModelTimestamp` in its core's model
repository manager). So an older tree that is put back is not loaded, and the load call says 200
all the same; while of a new tree all is, even what is as it was, as soon as an ensemble is loaded
that calls it: hard links and renames set ctime.

Stamps take that into the agent's hand. They are mtimes of folders, in a time to come: later than
any ctime, so nothing else counts. A version's folder keeps its stamp from tree to tree for as long
as it is the same version; another one gets a later stamp than any before. A model's folder has one
too: it makes Triton look at all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from builder.errors import MissingError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from builder.agent.tree import Model

SECOND = 1_000_000_000
BASE = 2_114_380_800
"""2037-01-01, in seconds: late, and still a time for file systems that end with 32 bits."""


def stamp(  # noqa: PLR0913 - both trees, and what is known besides
    folder: Path,
    models: Mapping[str, Model],
    before: tuple[Path, Mapping[str, Model]] | None,
    fresh: int,
    *,
    again: Collection[str] = (),
    left: Collection[str] = (),
) -> None:
    """Stamps the folders of a tree.

    Args:
        folder: the tree; not served yet.
        models: what it holds.
        before: the tree that it comes after, whose stamps the server knows, and what that holds.
        fresh: a stamp that no folder had yet.
        again: models to be loaded anew, whether they differ or not.
        left: models whose stamps in `folder` are what the server knows, as they were never
            loaded from the tree before.

    Raises:
        MissingError: the file system does not keep such times.
    """
    there, known = before or (folder, {})
    for name, model in models.items():
        if name in left:
            continue
        old = None if name in again else known.get(name)
        same = old is not None and old.served == model.served
        own = _of(there / name) if same else None
        _set(folder / name, fresh if own is None else own)
        for number, key in model.versions.items():
            version = f"{name}/{number}"
            kept = old is not None and old.versions.get(number) == key
            found = _of(there / version) if kept else None
            if found is None and own is not None:
                continue  # adopted: its model's stamp stands for it
            _set(folder / version, fresh if found is None else found)


def adopt(folder: Path, name: str, fresh: int) -> None:
    """Stamps a model that was loaded before anybody stamped it, but not its versions.

    Triton then takes note of the model's time at the next load, and finds nothing to load.
    """
    _set(folder / name, fresh)


def stamped(folder: Path, name: str) -> bool:
    """Whether a model has a stamp."""
    return _of(folder / name) is not None


def _of(folder: Path) -> int | None:
    """A folder's stamp; None where it has none."""
    try:
        seconds = folder.stat().st_mtime_ns // SECOND
    except OSError:
        return None
    return seconds - BASE if seconds >= BASE else None


def _set(folder: Path, stamp: int) -> None:
    wanted = (BASE + stamp) * SECOND
    os.utime(folder, ns=(wanted, wanted))
    found = folder.stat().st_mtime_ns
    if found != wanted:
        raise MissingError(
            "the file system keeps no times of years to come, by which Triton is told what to load",
            where=str(folder),
            found=found,
            expected=wanted,
            fix="use a folder on ext4, xfs, tmpfs or overlayfs",
        )
