"""What a pod asks its Triton, and what it takes for dead, on a live server."""

import contextlib
import json
import struct
import threading
import time

import psutil
import pytest

from builder.deploy import asking
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.endpoint import Endpoint, RefusedError
from builder.triton import probe as probes
from builder.triton import wire
from builder.triton.probe import Expected, Probe
from builder.triton.wire import Tensor

pytestmark = pytest.mark.live

MODEL = """
import pathlib
import time
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb.get_input_tensor_by_name(request, "x").as_numpy()
            while pathlib.Path("{gate}").exists():
                time.sleep(0.02)
            time.sleep(float(x[0]))
            answers.append(pb.InferenceResponse([pb.Tensor("y", x + np.float32({more}))]))
        return answers
"""
CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input {{ name: "x" data_type: TYPE_FP32 dims: [1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [1] }}
instance_group {{ count: 1 kind: KIND_CPU }}
"""


class Served:
    """A tree as a release's, a server on it, and a way to make its models wait."""

    def __init__(self, tree, gate, server):
        self.tree, self.gate, self._server = tree, gate, server
        self.endpoint = Endpoint(server.http)

    def ask(self, seconds):
        """An inference that takes so long."""
        return self.endpoint.infer(_probe("slow", 0.0, seconds), 60)

    def kill(self, model):
        """Ends the process of a model."""
        for process in self._server._processes():
            with contextlib.suppress(psutil.Error):
                if any(str(self.tree / model) in word for word in process.cmdline()):
                    process.kill()


def _probe(model, more, seconds=0.0):
    inputs = [Tensor("x", "FP32", (1,), _float(seconds))]
    header, body = wire.request(inputs, ["y"])
    expected = Expected(Tensor("y", "FP32", (1,), _float(seconds + more)), {"relative": 0.01})
    return Probe(probes.path(model, 1), 1, header, body, batched=False, outputs=(expected,))


def _float(value):
    return struct.pack("<f", value)


@pytest.fixture
def served(installation, tmp_path):
    """`quick` and `slow` are loaded; `absent` lies in the tree, and is not."""
    tree, gate = tmp_path / "repository", tmp_path / "gate"
    for name in ("quick", "slow", "absent"):
        (tree / name / "1").mkdir(parents=True)
        (tree / name / "1" / "model.py").write_text(MODEL.format(gate=gate, more=1.0))
        (tree / name / "config.pbtxt").write_text(CONFIG.format(name=name))
        for file, content in probes.files(_probe(name, 1.0)).items():
            (tree / name / file).write_bytes(content)
    versions = {"1": {"number": 1}}
    models = {name: {"versions": versions} for name in ("quick", "slow", "absent", "elsewhere")}
    (tree / "manifest.json").write_text(json.dumps({"models": models}))
    with EmbeddedServer(installation, [tree]) as server:
        found = Served(tree, gate, server)
        for name in ("quick", "slow"):
            found.endpoint.call("POST", f"/v2/repository/models/{name}/load")
        try:
            yield found
        finally:
            gate.unlink(missing_ok=True)


def test_a_pod_has_started_once_every_version_answers_as_it_should(served):
    (complaint,) = asking.started(served.endpoint, served.tree)
    assert complaint.startswith("absent 1: ")
    served.endpoint.call("POST", "/v2/repository/models/absent/load")
    assert asking.started(served.endpoint, served.tree) == []
    for file, content in probes.files(_probe("quick", 2.0)).items():
        (served.tree / "quick" / file).write_bytes(content)
    (complaint,) = asking.started(served.endpoint, served.tree)
    assert complaint.startswith("quick 1: y: 1 where 2 was expected")


def test_a_version_without_a_probe_has_to_be_ready(served):
    for name in ("quick", "absent"):
        (served.tree / name / probes.names(1)[0]).unlink()
    (complaint,) = asking.started(served.endpoint, served.tree)
    assert complaint.startswith("absent 1: 400")


def test_a_dead_model_is_told_from_those_that_live(served):
    assert asking.alive(served.endpoint, served.tree) == []
    served.kill("slow")
    complaints = _until(lambda: asking.alive(served.endpoint, served.tree))
    assert [complaint.split(":")[0] for complaint in complaints] == ["slow 1"]
    served.endpoint.call("GET", "/v2/health/ready")  # which is as content as ever


def test_a_model_that_answers_others_is_only_busy(served):
    over = threading.Event()

    def load():
        while not over.is_set():
            served.ask(0.3)

    clients = [threading.Thread(target=load) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        time.sleep(1)  # until all of them wait
        started = time.monotonic()
        assert asking.alive(served.endpoint, served.tree, within=1.5) == []
        assert time.monotonic() - started > 1
    finally:
        over.set()
        for client in clients:
            client.join()


def test_a_model_that_answers_nobody_is_dead(served):
    served.gate.touch()
    complaints = asking.alive(served.endpoint, served.tree, within=1)
    assert complaints
    assert all("timed out" in complaint for complaint in complaints)


def test_a_wrong_answer_is_no_death(served):
    for file, content in probes.files(_probe("quick", 2.0)).items():
        (served.tree / "quick" / file).write_bytes(content)
    assert asking.alive(served.endpoint, served.tree) == []


def test_a_release_that_is_being_exchanged_is_no_death(served):
    (served.tree / "manifest.json").rename(served.tree / "gone")
    assert asking.alive(served.endpoint, served.tree) == []
    (served.tree / "gone").rename(served.tree / "manifest.json")
    for file in probes.names(1)[1:]:
        (served.tree / "quick" / file).unlink()
    assert asking.alive(served.endpoint, served.tree) == []


def test_a_server_that_is_not_there_is_dead(tmp_path):
    (complaint,) = asking.alive(Endpoint("127.0.0.1:9"), tmp_path)
    assert "refused" in complaint


def test_what_was_unloaded_is_not_asked(served):
    served.endpoint.call("POST", "/v2/repository/models/quick/unload")
    _until(lambda: not _answers(served, "quick"))
    assert asking.alive(served.endpoint, served.tree) == []


def _until(ask, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def _answers(served, model):
    try:
        served.endpoint.infer(_probe(model, 1.0))
    except RefusedError:
        return False
    return True
