"""A target that is proven on a server that somebody else runs."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder.errors import InputError
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.endpoint import Endpoint, RefusedError
from builder.servers.launch import Launch
from builder.servers.ports import HOST, check, pick
from tests.projects import TARGET, echo, model

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


GPU_TARGET = REMOTE.replace('"cpu"', '"gpu"').replace("targets.cpu", "targets.gpu")
METRICS = """\
nv_gpu_memory_total_bytes{gpu_uuid="GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a"} 16944988160.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a"} %d.000000
"""


@pytest.fixture
def with_a_gpu(installation, tmp_path):
    """A Triton whose metrics, which another server has, tell of a GPU: `used` bytes are taken."""
    used = [0]

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write((METRICS % used[0]).encode())

        def log_message(self, *_):
            pass

    folder = tmp_path / "theirs"
    folder.mkdir()
    ports = None
    while ports is None:
        exporter = ThreadingHTTPServer((HOST, 0), Metrics)
        http, metrics, _ = pick()
        ports = (http, exporter.server_port - 1, metrics)
        try:
            check(ports)
        except InputError:  # somebody has the neighbour
            exporter.server_close()
            ports = None
    thread = threading.Thread(target=exporter.serve_forever)
    thread.start()
    try:
        with EmbeddedServer(installation, [folder], Launch(ports=ports)) as server:
            yield server, folder, used
    finally:
        exporter.shutdown()
        thread.join()
        exporter.server_close()


@pytest.mark.export
@pytest.mark.slow
def test_a_model_is_not_loaded_where_the_gpus_are_full(project, run, with_a_gpu, monkeypatch):
    server, folder, used = with_a_gpu
    model(project)
    (project / "pyproject.toml").write_text(
        f'{GPU_TARGET}formats = ["onnx", "python"]\npreflight = false\n'
    )
    monkeypatch.setenv("TRITON_BUILDER_SERVER_URL", urls(server))
    monkeypatch.setenv("TRITON_BUILDER_SERVER_REPOSITORY", str(folder))
    used[0] = 16944988160 - 100
    _, err = run("build", code=1)
    assert "the model would not load: the GPU has too little memory for the model" in err
    assert "0.0001 MB free of 16.9 GB on GPU-71ce41fd-3ac0-afe7-c995-21119f1e984a" in err
    assert '"loading: linear' not in server.log()
    used[0] = 554696704
    _, err = run("build", code=1)  # tried now: this Triton has no GPU after all
    assert "the model is to run on a GPU, and the server has none" in err
    assert '"loading: linear' in server.log()
    assert server.alive()


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
