"""What tests need of Debian: programs on this machine, and root file systems of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

APT = ("apt-get", "--yes", "--no-install-recommends", "--option=DPkg::Lock::Timeout=300")
"""Two runs may install at once."""


def provide(programs: Sequence[str], packages: Sequence[str]) -> None:
    """Installs packages where a program is missing.

    Raises:
        pytest.skip.Exception: they cannot be had here.
    """
    if all(shutil.which(program) for program in programs):
        return
    run(*APT, "update")
    run(*APT, "install", *packages)


def bootstrap(root: Path, suite: str, include: Sequence[str]) -> None:
    """Makes a root file system, in half a minute.

    Raises:
        pytest.skip.Exception: it cannot be made here.
    """
    provide(["debootstrap"], ["debootstrap"])
    options = ("--variant=minbase", f"--include={','.join(include)}")
    run("debootstrap", *options, suite, str(root), *mirror())


def mirror() -> list[str]:
    """Where this machine gets Debian from, if from one place; else debootstrap's own default."""
    rows = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    places = {row.split()[1] for row in rows if row.startswith("Debian ")}
    return sorted(p for p in places if p.rstrip("/").endswith("/debian"))[:1]


def run(*command: str) -> None:
    """Runs a command that makes what a test stands on.

    Raises:
        pytest.skip.Exception: it failed; the reason is what it said last.
    """
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    own = {"PATH": path, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, **own}
        )
    except FileNotFoundError:
        pytest.skip(f"no {command[0]} here")
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
        pytest.skip(f"{' '.join(command[:3])}: {tail}")
