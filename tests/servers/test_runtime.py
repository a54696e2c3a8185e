"""Each release's own ONNX Runtime: which there are, and the newest one for real."""

import json
import subprocess
import sys

import pytest

from builder.errors import InputError, MissingError, WorkFailedError
from builder.flow.build import Options, build
from builder.flow.context import context
from builder.servers.embedded import install, runtime
from builder.triton.releases import table
from tests.projects import SPEC, echo, model

NEWEST = max(name for name, row in table().items() if row.onnxruntime)
WITHOUT = {"24.02": InputError, "24.03": MissingError, "26.10": InputError}
"""An image without the backend; a version that PyPI never had; not established."""

TARGET = """
[tool.triton-builder]
default-target = "other"
[tool.triton-builder.targets.other]
triton = "{release}"
device = "cpu"
server = "container"
"""


@pytest.mark.parametrize("release", table())
def test_every_release_has_one_or_says_why_not(release, monkeypatch):
    monkeypatch.setattr(runtime, "PYTHON", "3.11")
    if release in WITHOUT:
        with pytest.raises(WITHOUT[release]) as caught:
            runtime.check(release, "here")
        assert release in caught.value.problem
        assert caught.value.fix
    else:
        runtime.check(release)
        assert runtime.identity(release)["onnxruntime"] == table()[release].onnxruntime


def test_what_was_never_on_pypi_is_named():
    with pytest.raises(MissingError, match="its ONNX Runtime is not on PyPI") as caught:
        runtime.check("24.03", "here")
    assert caught.value.where == "here"
    assert "1.17.2" in caught.value.found


@pytest.mark.parametrize(("python", "refused"), [("3.11", False), ("3.12", True)])
def test_a_python_that_a_version_has_no_wheel_for_is_told_which_has(monkeypatch, python, refused):
    monkeypatch.setattr(runtime, "PYTHON", python)
    runtime.check("24.04")
    if not refused:
        runtime.check("23.12")
        return
    with pytest.raises(MissingError, match=r"1\.16\.3 has no wheel") as caught:
        runtime.check("23.12")
    assert caught.value.found == "3.12"
    assert "python3.11 -m venv" in caught.value.fix


def test_a_release_with_an_embedded_server_has_that_one_s(tmp_path):
    for release in install.RELEASES:
        assert runtime.identity(release) == install.identity(release)


@pytest.mark.slow  # pip tries for some seconds
def test_no_network_is_a_missing_error_with_what_pip_said(tmp_path, monkeypatch):
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(MissingError) as caught:
        runtime.ensure(NEWEST, tmp_path, print)
    assert f"onnxruntime=={table()[NEWEST].onnxruntime}" in str(caught.value)
    assert [path.suffix for path in (tmp_path / "runtimes").iterdir()] in ([], [".lock"])


def test_a_full_disk_is_named_and_nothing_half_made_is_left(tmp_path, monkeypatch):
    said = "Error: [Errno 28] No space left on device: '/somewhere/bin'"
    monkeypatch.setattr(install.programs, "run", lambda *_: (1, said))
    with pytest.raises(WorkFailedError, match="the disk is full"):
        runtime.ensure(NEWEST, tmp_path, print)
    assert [path.suffix for path in (tmp_path / "runtimes").iterdir()] in ([], [".lock"])


def test_a_cache_that_cannot_be_written_is_a_missing_error(tmp_path):
    (tmp_path / "runtimes").write_text("in the way")
    with pytest.raises(MissingError, match="cannot be installed"):
        runtime.ensure(NEWEST, tmp_path, print)


@pytest.mark.slow
def test_the_newest_release_s_is_what_its_identity_says_and_found_again(cache):
    interpreter = runtime.ensure(NEWEST, cache, print)
    program = (
        "import json, numpy, onnxruntime, sys;"
        "print(json.dumps([numpy.__version__, onnxruntime.__version__, sys.version_info[:2]]))"
    )
    out = subprocess.run([interpreter, "-I", "-c", program], capture_output=True, check=True)
    numpy, onnxruntime, python = json.loads(out.stdout)
    found = {"numpy": numpy, "onnxruntime": onnxruntime, "python": ".".join(map(str, python))}
    assert runtime.identity(NEWEST) == found
    said = []
    assert runtime.ensure(NEWEST, cache, said.append) == interpreter
    assert not said


def project(root, release, spec=SPEC):
    model(root, spec=spec)
    (root / "pyproject.toml").write_text(TARGET.format(release=release))
    return root


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.filterwarnings("default")
def test_a_model_is_built_for_the_newest_release_and_proven_in_its_runtime(
    tmp_path, monkeypatch, cache
):
    own = runtime.ensure(NEWEST, cache, print)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "runtimes").symlink_to(own.parents[2])
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    two = SPEC.replace("{{precision: fp32}}", '{{precision: fp32}}\n  "1.1": {{precision: int8}}')
    here = context(project(tmp_path / "project", NEWEST, two), None)
    outcome = build(here, Options(jobs=1, validate=False))
    for version in ("1.0", "1.1"):
        facts = outcome.records[f"prove linear {version}"].facts
        assert facts["onnxruntime"] == table()[NEWEST].onnxruntime
    assert "server tritonserver" not in outcome.manifest.toolchain


def test_a_graph_for_a_release_without_one_is_refused_before_anything_is_done(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    root = project(tmp_path / "project", "24.03")
    with pytest.raises(MissingError, match="is not on PyPI") as caught:
        context(root, None)
    assert caught.value.where == "pyproject.toml [tool.triton-builder.targets.other] triton"


def test_a_python_model_needs_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    echo(tmp_path / "project")
    (tmp_path / "project" / "pyproject.toml").write_text(TARGET.format(release="24.03"))
    assert context(tmp_path / "project", None).runtime["python"] == (
        f"{sys.version_info.major}.{sys.version_info.minor}"
    )
