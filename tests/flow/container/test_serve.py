"""A target that is served in its own container."""

import json
import signal
import socket

import pytest

from builder.servers import ports
from builder.servers.endpoint import Endpoint
from builder.triton.probe import read
from tests.containers.owned import containers
from tests.flow.container.boxed import manifest
from tests.projects import echo

pytest_plugins = ["tests.containers.fixture"]
pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture
def serving(project, start):
    """Starts `serve` on what was built; the process, and what it said until it was ready."""

    def begin(*arguments):
        process = start("serve", *arguments)
        said = []
        for line in process.stdout:
            said.append(line.rstrip())
            if line.startswith("ready"):
                break
        return process, said

    return begin


def stopped(process, how=signal.SIGINT):
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out.splitlines(), err


def test_a_target_is_served_in_its_own_container_until_ctrl_c(engine, image, project, run, serving):
    echo(project)
    assert run("build")[0] == 0
    given = ports.pick()
    named = ("http", "grpc", "metrics")
    process, said = serving(*(f"--{n}-port={p}" for n, p in zip(named, given, strict=True)))
    assert said[0] == "starting tritonserver 2.51.0 (24.10), container"
    assert said[1:4] == [f"{n:<8} 127.0.0.1:{p}" for n, p in zip(named, given, strict=True)]
    assert said[4].startswith("loaded   echo")
    (container,) = containers(engine, process.pid)
    (facts,) = json.loads(engine("inspect", container))
    assert facts["Image"] == json.loads(engine("image", "inspect", image))[0]["Id"]
    assert facts["HostConfig"]["Memory"] == 4 * 10**9
    assert facts["HostConfig"]["ShmSize"] == 256 * 10**6
    published = [one for many in facts["NetworkSettings"]["Ports"].values() for one in many]
    assert {(one["HostIp"], int(one["HostPort"])) for one in published} == {
        ("127.0.0.1", port) for port in given
    }
    (built,) = manifest(project)["models"]["echo"]["versions"].values()
    tree = project / "repository" / "boxed" / "echo"
    probe = read(built["number"], lambda name: (tree / name).read_bytes(), "echo")
    assert Endpoint(f"127.0.0.1:{given[0]}").differs(probe) is None
    code, out, _ = stopped(process)
    assert (code, out) == (0, ["stopping", "stopped"])
    assert containers(engine, process.pid) == []
    assert sorted(p.name for p in (tree / str(built["number"])).iterdir()) == ["model.py"]


def test_a_serving_container_that_dies_is_an_error(engine, project, run, serving):
    echo(project)
    assert run("build")[0] == 0
    process, _ = serving()
    engine("kill", *containers(engine, process.pid))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ended by itself" in err
    assert containers(engine, process.pid) == []


def test_a_port_that_is_taken_is_named_before_a_container_serves(engine, project, run):
    echo(project)
    assert run("build")[0] == 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, _, err = run("serve", "--grpc-port", str(port))
    assert code == 2
    assert f"127.0.0.1:{port}" in err


def test_serving_without_the_engine_says_what_to_install(project, run, monkeypatch):
    echo(project)
    assert run("build")[0] == 0
    monkeypatch.setenv("TRITON_BUILDER_ENGINE", "no-such-engine")
    code, _, err = run("serve")
    assert code == 3
    assert "apt-get install podman" in err


def test_a_server_that_somebody_else_runs_is_not_served(project, run):
    echo(project)
    text = (project / "pyproject.toml").read_text()
    (project / "pyproject.toml").write_text(
        text.replace('server = "container"', 'server = "remote"')
    )
    code, _, err = run("serve")
    assert code == 2
    assert "somebody else runs" in err
    assert "triton-builder publish" in err
