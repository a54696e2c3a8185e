from __future__ import annotations

import json
import subprocess
import sys

import pytest

from builder.errors import MissingError, WorkFailedError
from builder.servers.embedded import install, libpython


def test_identity_is_known_without_installing_or_heavy_imports():
    program = (
        "import json, sys; from builder.servers.embedded.install import identity;"
        "print(json.dumps([dict(identity('24.10')), sorted(sys.modules)]))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    identity, modules = json.loads(out)
    assert identity == {
        "tritonserver": "2.51.0",
        "onnxruntime": "1.19.2",
        "numpy": "1.26.4",
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    assert not {"onnxruntime", "onnx", "numpy", "tritonclient", "psutil"} & set(modules)


def test_a_release_without_an_embedded_server_says_which_have_one(tmp_path):
    with pytest.raises(MissingError) as caught:
        install.ensure("23.01", tmp_path, print)
    assert (caught.value.found, caught.value.expected) == ("23.01", "24.10")
    assert not list(tmp_path.iterdir())


def test_another_platform_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(install.platform, "machine", lambda: "aarch64")
    with pytest.raises(MissingError, match="does not run here"):
        install.ensure("24.10", tmp_path, print)


@pytest.mark.slow  # pip tries for some seconds
def test_no_network_is_a_missing_error_with_what_pip_said(tmp_path, monkeypatch):
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(MissingError) as caught:
        install.ensure("24.10", tmp_path, print)
    assert "onnxruntime==1.19.2" in str(caught.value)
    assert "No matching distribution" in str(caught.value)
    assert [path.suffix for path in (tmp_path / "servers").iterdir()] in ([], [".lock"])


def test_a_cache_that_cannot_be_written_is_a_missing_error(tmp_path):
    (tmp_path / "servers").write_text("in the way")
    with pytest.raises(MissingError, match="cannot be installed"):
        install.ensure("24.10", tmp_path, print)


def test_a_full_disk_is_named_and_nothing_half_made_is_left(tmp_path, monkeypatch):
    said = "Error: [Errno 28] No space left on device: '/somewhere/bin'"
    monkeypatch.setattr(install.programs, "run", lambda *_: (1, said))
    with pytest.raises(WorkFailedError, match="the disk is full") as caught:
        install.ensure("24.10", tmp_path, print)
    assert caught.value.where == str(tmp_path / "servers")
    assert "TRITON_BUILDER_CACHE" in caught.value.fix
    assert [path.suffix for path in (tmp_path / "servers").iterdir()] in ([], [".lock"])


def test_an_interrupt_leaves_nothing_half_made(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(install.programs, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install.ensure("24.10", tmp_path, print)
    assert [path.suffix for path in (tmp_path / "servers").iterdir()] in ([], [".lock"])


@pytest.mark.live
def test_an_installation_is_found_again_without_work(installation, cache):
    said: list[str] = []
    assert install.ensure("24.10", cache, said.append) == installation
    assert said == []


@pytest.mark.live
def test_the_runtime_holds_what_the_identity_says(installation):
    program = (
        "import json, numpy, onnxruntime, sys;"
        "print(json.dumps([numpy.__version__, onnxruntime.__version__, sys.version_info[:2]]))"
    )
    out = subprocess.run(
        [installation.runtime, "-I", "-c", program], capture_output=True, check=True
    )
    numpy, onnxruntime, python = json.loads(out.stdout)
    assert installation.identity == {
        "tritonserver": installation.server_version,
        "onnxruntime": onnxruntime,
        "numpy": numpy,
        "python": ".".join(map(str, python)),
    }


def test_an_installation_whose_python_is_gone_is_not_complete(tmp_path):
    candidate = install._laid_out(tmp_path, "24.10", install.RELEASES["24.10"])
    for path in (
        candidate.tritonserver,
        candidate.libraries[0] / libpython.NAME,
        candidate.runtime,
    ):
        assert not install._complete(candidate)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(sys.executable)
    assert install._complete(candidate)
    candidate.runtime.unlink()
    candidate.runtime.symlink_to(tmp_path / "gone")
    assert not install._complete(candidate)
