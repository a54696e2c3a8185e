"""What is pushed, and through what."""

import pytest

from builder.release.oci import http
from tests.release.oci.pushes import Cpu
from tests.stores import faults


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """Nobody is logged in anywhere, and nobody waits long."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(http, "PAUSE", 0.01)


@pytest.fixture
def proxy(registry):
    with faults.before(registry.port) as proxy:
        yield proxy


@pytest.fixture
def cpu(tmp_path):
    return Cpu(tmp_path / "cpu")
