"""The engine and the images that other tests stand on."""

import http.client
import json
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.containers import images
from tests.containers.engine import PREFIX, EngineError

pytest_plugins = ["tests.containers.fixture"]
pytestmark = pytest.mark.slow

ECHO = """
import os
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb.InferenceResponse(
                [pb.Tensor("y", pb.get_input_tensor_by_name(r, "x").as_numpy() + os.getuid())]
            )
            for r in requests
        ]
"""
CONFIG = """
name: "echo"
backend: "python"
max_batch_size: 0
input { name: "x" data_type: TYPE_INT32 dims: [2] }
output { name: "y" data_type: TYPE_INT32 dims: [2] }
instance_group { count: 1 kind: KIND_CPU }
"""


@pytest.fixture
def base(engine):
    return images.debian(engine)


def test_a_container_answers_where_its_port_is_published(engine, base):
    name = engine.name()
    serve = ("python3", "-m", "http.server", "8000", "--directory", "/usr/share")
    engine("run", "--detach", f"--name={name}", "--publish=127.0.0.1::8000", base, *serve)
    published = engine("port", name, "8000").strip()
    assert published.startswith("127.0.0.1:")
    _until_ready(engine, name, published, "/")
    _until_ready(engine, name, f"{engine.address(name)}:8000", "/")


def test_containers_of_a_run_that_is_no_more_are_removed(engine, base):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, ours = f"{PREFIX}{ended.pid}xleft", engine.name()
    for name in (left, ours):
        engine("run", "--detach", f"--name={name}", base, "sleep", "600")
    engine.collect()
    names = engine("ps", "--all", "--format", "{{.Names}}").split()
    assert left not in names
    assert ours in names
    engine.remove(ours)
    assert ours not in engine("ps", "--all", "--format", "{{.Names}}").split()


def test_nothing_of_the_users_own_podman_is_seen(engine):
    assert shutil.which("podman")
    told = json.loads(engine("info", "--format", "json"))["store"]
    assert told["graphRoot"] == str(engine.data / "storage")
    assert told["configFile"] == str(engine.data / "storage.conf")


def test_what_the_engine_says_is_told(engine):
    with pytest.raises(EngineError, match="no-such-image"):
        engine("run", "--rm", "--pull=never", "localhost/no-such-image")


@pytest.mark.live
def test_triton_serves_in_a_container_that_may_write_nowhere(engine, installation, tmp_path):
    image = images.tritonserver(engine, installation)
    model = tmp_path / "models" / "echo"
    (model / "1").mkdir(parents=True)
    (model / "1" / "model.py").write_text(ECHO)
    (model / "config.pbtxt").write_text(CONFIG)
    tmp_path.chmod(0o755)
    name = engine.name()
    engine(
        "run",
        "--detach",
        f"--name={name}",
        "--user=1000:1000",
        "--read-only",
        "--read-only-tmpfs=false",
        "--tmpfs=/tmp",
        "--cap-drop=ALL",
        f"--volume={tmp_path / 'models'}:/models:ro",
        image,
        "tritonserver",
        "--model-repository=/models",
        "--disable-auto-complete-config",
    )
    address = f"{engine.address(name)}:8000"
    _until_ready(engine, name, address, "/v2/health/ready")
    tensor = {"name": "x", "datatype": "INT32", "shape": [2], "data": [1, 2]}
    request = urllib.request.Request(
        f"http://{address}/v2/models/echo/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
        assert json.load(answer)["outputs"][0]["data"] == [1001, 1002]
    assert engine.attempt("exec", name, "touch", "/opt/tritonserver/x").returncode
    engine.remove(name)
    assert [path.name for path in (model / "1").iterdir()] == ["model.py"]


def _until_ready(engine, container, address, path):
    deadline = time.monotonic() + 60
    while _status(address, path) != 200:
        assert time.monotonic() < deadline, engine("logs", container)
        time.sleep(0.1)


def _status(address, path):
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()
