"""The ONNX Runtime of a Triton release, in an interpreter of its own: what artifacts are proven in.

A release with an embedded server brings one. For the others it is the wheel of that very version
from PyPI, where there is one; the server itself is a container's, or somebody else's.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from builder.errors import MissingError
from builder.servers.embedded import environment, install, programs
from builder.servers.embedded.libpython import PYTHON
from builder.triton.releases import release as row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NUMPY = "1.26.4"
"""All of these wheels run with it; those up to 1.18 with no NumPy 2."""

NEVER_ON_PYPI: Mapping[str, str] = {"1.17.2": "1.17.1 and 1.17.3 were"}
"""Versions that a release ships and that PyPI never had."""

PYTHONS: Mapping[str, tuple[str, ...]] = {"1.16": ("3.10", "3.11")}
"""By minor version of ONNX Runtime, Pythons that it has wheels for, where some of ours is not."""


def identity(release: str) -> Mapping[str, str]:
    """What can change a proof for this release; installs nothing.

    A release with an embedded server has that one's; one without ONNX Runtime has little.
    """
    if release in install.RELEASES:
        return install.identity(release)
    runtime = row(release).onnxruntime
    return {**({"onnxruntime": runtime, "numpy": NUMPY} if runtime else {}), "python": PYTHON}


def check(release: str, where: str | None = None) -> None:
    """Whether a release's ONNX Runtime can be had here; installs nothing, and asks no network.

    Raises:
        InputError: it is not known, or the release has none.
        MissingError: there is no wheel of it, or none for this Python.
    """
    if release in install.RELEASES:
        return
    version = row(release).need("onnxruntime")
    if version in NEVER_ON_PYPI:
        raise MissingError(
            f"graphs cannot be proven for Triton {release}: its ONNX Runtime is not on PyPI",
            where=where,
            found=f"onnxruntime {version}, which it never had; {NEVER_ON_PYPI[version]}",
            expected="a release whose ONNX Runtime has a wheel",
            fix="set the target's `triton` to the month before or after",
        )
    pythons = PYTHONS.get(version.rpartition(".")[0], (PYTHON,))
    if PYTHON not in pythons:
        raise MissingError(
            f"graphs cannot be proven for Triton {release} with this Python: its ONNX Runtime "
            f"{version} has no wheel for it",
            where=where,
            found=PYTHON,
            expected=", ".join(pythons),
            fix=f"python{pythons[-1]} -m venv .venv && "
            ".venv/bin/pip install 'triton-builder[build]', and use that one",
        )


def ensure(release: str, cache: Path, say: Callable[[str], None]) -> Path:
    """The interpreter that holds a release's ONNX Runtime, made where it is not there yet.

    Safe where several processes ask at once; releases of one ONNX Runtime share it.

    Raises:
        InputError: it is not known.
        MissingError: there is none to be had: no wheel, no network, no place.
        WorkFailedError: the disk is full.
    """
    if release in install.RELEASES:
        return install.ensure(release, cache, say).runtime
    check(release)
    programs.resume()
    version = row(release).need("onnxruntime")
    packages = {"onnxruntime": version, "numpy": NUMPY}
    parts = json.dumps([PYTHON, sorted(packages.items())]).encode()
    name = f"{version}-{hashlib.sha256(parts).hexdigest()[:12]}"
    root = cache.absolute() / "runtimes" / name
    interpreter = root / "bin" / "python"
    if interpreter.exists():
        return interpreter

    def make(work: Path) -> None:
        say(f"installing onnxruntime {version} ({release}), once, in {root}")
        environment.create(work, packages)

    environment.once(
        root,
        interpreter.exists,
        make,
        what="the release's ONNX Runtime",
        size="200 MB",
    )
    return interpreter
