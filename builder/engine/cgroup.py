"""What our control groups leave us: memory, and time on cores. Both versions, every level.

A container sees its own group as the root of what is mounted; a service or a login session lies
further down, and what is above it counts as well. No limit, no file, or none that can be read is
none (cgroups(7); cgroup-v2 and cgroup-v1/memory of the kernel's documentation).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class _Files:
    """What a version of control groups calls things."""

    limit: str
    used: str
    cache: str


_SECOND = _Files("memory.max", "memory.current", "inactive_file")
_FIRST = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


@dataclass(frozen=True)
class Groups:
    """The groups that this process is in.

    Attributes:
        mount: where their hierarchies are.
        own: the file that tells which they are.
    """

    mount: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def memory(self) -> int | None:
        """The least limit of memory in bytes; None where there is none."""
        return min((limit for _, _, limit in self._limits()), default=None)

    def free(self) -> int | None:
        """Bytes that may still be taken, files that are cached left aside; None for no limit."""
        found = []
        for folder, files, limit in self._limits():
            used = _number(folder / files.used)
            if used is not None:
                cache = _entries(folder / "memory.stat").get(files.cache, 0)
                found.append(limit - used + cache)
        return min(found, default=None)

    def cores(self) -> int | None:
        """How many cores the quota is worth, begun ones included; None for no quota."""
        found = []
        for folder in self._folders(""):
            found += _cores(_words(folder / "cpu.max"))
        for folder in self._folders("cpu"):
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            found += _cores([word for name in names for word in _words(folder / name)])
        return min(found, default=None)

    def _limits(self) -> Iterator[tuple[Path, _Files, int]]:
        """Every limit of memory, and where it was found."""
        for controller, files in (("", _SECOND), ("memory", _FIRST)):
            for folder in self._folders(controller):
                limit = _number(folder / files.limit)
                if limit is not None:
                    yield folder, files, limit

    def _folders(self, controller: str) -> Iterator[Path]:
        """Our group and all that it is in: a controller's of version 1, or the second's without."""
        with contextlib.suppress(OSError, ValueError):
            for line in self.own.read_text(encoding="utf-8").splitlines():
                _, controllers, path = line.split(":", 2)
                if controller not in controllers.split(","):
                    continue
                for name in {controller, controllers}:
                    root = self.mount / name
                    group = root / path.lstrip("/")
                    yield from (p for p in (group, *group.parents) if p.is_relative_to(root))


def _cores(words: list[str]) -> list[int]:
    """Out of a quota and its period; the quota is `max` or -1 where there is none."""
    with contextlib.suppress(ValueError):
        quota, period = map(int, words)
        if quota > 0 and period > 0:
            return [-(-quota // period)]
    return []


def _entries(file: Path) -> Mapping[str, int]:
    words = _words(file)
    with contextlib.suppress(ValueError):
        return dict(zip(words[::2], map(int, words[1::2]), strict=False))
    return {}


def _number(file: Path) -> int | None:
    with contextlib.suppress(ValueError):
        (word,) = _words(file)
        return int(word)  # not `max`
    return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
