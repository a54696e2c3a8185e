"""What moves through memory is bounded, whatever a file's size."""

import json
import subprocess
import sys

import pytest

from tests.release.commands import ROOT, right
from tests.release.trees import repository

pytest_plugins = ["tests.stores.ceph"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

SIZE = 512 << 20
MOST = 300e6
"""Bytes in memory."""

MEASURED = """
import json, resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024]))
"""


def peak(*arguments):
    """The most that a command held in memory, in bytes."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "builder", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    code, most = json.loads(done.stdout)
    assert code == 0, done.stderr
    return most


def test_one_large_file(s3, tmp_path, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    url = f"s3://{s3.bucket()}/r"
    root = tmp_path / "project"
    # an address for each block, so that no two parts are alike
    weights = b"".join(n.to_bytes(8, "big") + b"\1" * 65528 for n in range(SIZE >> 16))
    repository(root / "repository" / "cpu", {"a": {"1": {"weights": weights}}})
    del weights
    (root / "pyproject.toml").write_text(
        '[tool.triton-builder]\ndefault-target = "cpu"\n'
        '[tool.triton-builder.targets.cpu]\ntriton = "24.10"\ndevice = "cpu"\n'
    )
    pod, cache = tmp_path / "pod", tmp_path / "cache"
    assert peak("-C", root, "publish", "--channel", "prod", "--store", url) < MOST
    assert peak("pull", "prod", pod, "--cache", cache, "--store", url) < MOST
    assert peak("pull", "prod", tmp_path / "warm", "--cache", cache, "--store", url) < MOST
    assert peak("verify", "prod", "--store", url) < MOST
    assert peak("verify", pod) < MOST
    right("gc", "--releases", "--store", url)
