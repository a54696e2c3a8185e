"""A build on a real server, and what happens when the server or the model lets it down."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.projects import ECHO_MODEL, echo

pytestmark = pytest.mark.live

DEADLY = ECHO_MODEL.replace(
    "        return [",
    "        import os, signal\n"
    "        if any(len(pb_utils.get_input_tensor_by_name(r, 'x').as_numpy()) > 1"
    " for r in requests):\n"
    "            os.kill(os.getppid(), signal.SIGKILL)\n"
    "        return [",
)
LYING = ECHO_MODEL.replace(".as_numpy()", ".as_numpy() + 1")
SLOW = ECHO_MODEL.replace(
    "        return [", "        import time; time.sleep(20)\n        return ["
)


@pytest.fixture
def project(tmp_path, installation, cache, monkeypatch):
    """A project whose store is its own, and whose server is the one already installed."""
    own = tmp_path / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(own))
    root = tmp_path / "project"
    root.mkdir()
    assert installation.tritonserver.exists()
    return root


def start(project, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "builder", "-C", str(project), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(project, *arguments):
    process = start(project, *arguments)
    out, err = process.communicate(timeout=200)
    assert "Traceback" not in err
    return process.returncode, out, err


def servers():
    """Running servers and stubs that this test's builds started."""
    mine = os.environ["TRITON_BUILDER_CACHE"]
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
            environ = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if ("tritonserver" in line or "python_backend_stub" in line) and mine in line + environ:
            found.append(int(folder.name))
    return found


def test_a_build_is_proven_once(project):
    echo(project)
    code, out, err = run(project, "build")
    assert code == 0, err
    assert "All 1 version" in out or "The 1 version passed" in out
    manifest = json.loads((project / "repository/cpu/manifest.json").read_text())
    verdict = manifest["models"]["echo"]["versions"]["1.0"]["verdict"]
    assert verdict["passed"]
    assert "24.10" in verdict["server"]
    assert {"ready", "goldens", "config", "data", "memory"} <= set(verdict["checks"])
    suites = ET.parse(project / "repository/cpu.junit.xml").getroot()
    assert int(suites.get("tests")) == len(verdict["checks"])
    assert "<html" in (project / "repository/cpu.report.html").read_text()
    measured = json.loads((project / "repository/cpu.measured.json").read_text())
    assert measured["loads"].keys() == {"echo"}
    assert measured["manifest"].startswith("sha256:")
    code, out, err = run(project, "build")
    assert "up to date" in out
    assert "live server" not in err
    assert servers() == []


def test_wrong_numbers_do_not_pass_and_the_former_repository_stays(project):
    folder = echo(project)
    run(project, "build")
    before = (project / "repository/cpu/manifest.json").read_bytes()
    (folder / "model.py").write_text(LYING)
    code, out, err = run(project, "build")
    assert code == 1
    assert "echo 1.0" in err
    assert "goldens" in err
    assert "expected" in err
    assert "failed" in out
    assert (project / "repository/cpu/manifest.json").read_bytes() == before
    assert "failed" in (project / "repository/cpu.report.html").read_text()
    (folder / "model.py").write_text(ECHO_MODEL)
    assert run(project, "build")[0] == 0


def test_what_was_built_without_proof_is_proven_later(project):
    echo(project)
    run(project, "build", "--no-validate")
    code, out, _ = run(project, "build")
    assert code == 0
    assert "passed" in out
    manifest = json.loads((project / "repository/cpu/manifest.json").read_text())
    assert manifest["models"]["echo"]["versions"]["1.0"]["verdict"]["passed"]


def test_a_server_that_dies_in_the_middle(project):
    folder = echo(project)
    (folder / "model.py").write_text(DEADLY)
    code, _, err = run(project, "build")
    assert code == 1
    assert "the server died" in err
    assert "SIGKILL" in err
    assert "infer_handler" not in err
    assert "echo" in err
    assert not (project / "repository/cpu").exists()
    assert servers() == []


def test_an_interrupt_during_validation_stops_the_server(project):
    folder = echo(project)
    (folder / "model.py").write_text(SLOW)
    process = start(project, "build")
    end = time.monotonic() + 60
    while not servers() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(1.0)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - sent < 5
    assert "Traceback" not in err
    assert servers() == []
    assert not (project / "repository/cpu").exists()


def test_a_failing_build_prints_one_json_document(project):
    folder = echo(project)
    (folder / "model.py").write_text(LYING)
    code, out, _ = run(project, "build", "--json")
    document = json.loads(out)
    assert code == 1
    assert document["outcome"] == "1 of 1 version failed"
    assert "not proven" in document["errors"][0]["problem"]


def test_a_copy_that_was_tampered_with_proves_nothing(project, tmp_path):
    folder = echo(project)
    (folder / "model.py").write_text(LYING)
    run(project, "build", "--no-validate")
    copy = tmp_path / "copy"
    shutil.copytree(project / "repository/cpu", copy)
    tampered = copy / "echo/1000000/model.py"
    tampered.unlink()
    tampered.write_text(ECHO_MODEL)
    code, _, err = run(project, "validate", "--repository", str(copy))
    assert code == 1
    assert "files are not as they were built" in err
    assert "echo/1000000/model.py" in err
    assert run(project, "build")[0] == 1


def test_validate_asks_the_server_again(project):
    echo(project)
    assert run(project, "validate")[0] == 1
    run(project, "build")
    code, out, err = run(project, "validate")
    assert code == 0, err
    assert "passed" in out
    assert "validating 1 model on" in err
