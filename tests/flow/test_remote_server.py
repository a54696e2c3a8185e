"""A target that is proven on a server that somebody else runs."""

import json

import pytest

from builder.servers.embedded.server import EmbeddedServer
from builder.servers.endpoint import Endpoint, RefusedError
from builder.servers.ports import HOST, pick
from tests.projects import TARGET, echo

REMOTE = TARGET + 'server = "remote"\n'

pytestmark = pytest.mark.live


@pytest.fixture
def theirs(installation, tmp_path):
    """A Triton that loads on request, out of a folder that holds nothing yet."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    with EmbeddedServer(installation, [folder]) as server:
        yield server, folder


@pytest.fixture
def run(command):
    def call(*arguments, code=0):
        process = command(*arguments)
        out, err = process.communicate(timeout=300)
        assert "Traceback" not in err
        assert process.returncode == code, err
        return out, err

    return call


def urls(server):
    return f"http://{server.http} grpc://{server.grpc}"


def served(server, model):
    try:
        Endpoint(server.http).call("GET", f"/v2/models/{model}/ready")
    except RefusedError:
        return False
    return True


def test_a_verdict_of_a_job_is_everybodys_through_the_remote_cache(
    project, run, theirs, tmp_path, monkeypatch
):
    """What the Job of `manifests --job` does, and the build after it that has no such server."""
    server, folder = theirs
    echo(project)
    (project / "pyproject.toml").write_text(REMOTE)
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE", f"file://{tmp_path}/results")
    with monkeypatch.context() as job:
        job.setenv("TRITON_BUILDER_SERVER_URL", urls(server))
        job.setenv("TRITON_BUILDER_SERVER_REPOSITORY", str(folder))
        run("build")
    assert list(folder.iterdir()) == []
    assert not served(server, "echo")
    proven = (project / "repository" / "cpu" / "manifest.json").read_bytes()
    (version,) = json.loads(proven)["models"]["echo"]["versions"].values()
    assert version["verdict"]["passed"]
    assert version["verdict"]["server"] == "tritonserver 2.51.0 (24.10), remote"
    assert server.http.encode() not in proven

    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "elsewhere"))
    (project / "repository").rename(tmp_path / "before")
    _, err = run("build")
    assert "validating" not in err
    assert (project / "repository" / "cpu" / "manifest.json").read_bytes() == proven


def test_a_build_without_a_server_says_how_to_name_one(project, run):
    echo(project)
    (project / "pyproject.toml").write_text(REMOTE)
    _, err = run("build", code=2)
    assert "TRITON_BUILDER_SERVER_URL" in err


def test_a_server_that_is_not_there_is_exit_code_3(project, run, monkeypatch):
    echo(project)
    (project / "pyproject.toml").write_text(f'{REMOTE}url = "http://{HOST}:{pick()[0]}"\n')
    _, err = run("build", code=3)
    assert "does not answer" in err
    assert not (project / "repository" / "cpu").exists()


def test_validate_asks_another_server_and_changes_nothing(project, run, theirs):
    server, _ = theirs
    echo(project)
    (project / "pyproject.toml").write_text(TARGET)
    run("build")
    manifest = (project / "repository" / "cpu" / "manifest.json").read_bytes()
    addresses = [word for url in urls(server).split() for word in ("--url", url)]
    out, _ = run("validate", *addresses, "--json")
    (version,) = json.loads(out)["models"][0]["versions"]
    assert "remote" in json.dumps(version)
    assert not served(server, "echo")
    _, err = run("build")
    assert "validating" not in err
    assert (project / "repository" / "cpu" / "manifest.json").read_bytes() == manifest
