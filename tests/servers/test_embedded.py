from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from builder.errors import InputError, WorkFailedError
from builder.servers import foreground, ports
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.launch import Launch

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", autouse=True)
def models(repository):
    repository.add(
        "double",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n"])],
        [("y", TensorProto.FLOAT, ["n"])],
        "input { name: 'x' data_type: TYPE_FP32 dims: [-1] }\n"
        "output { name: 'y' data_type: TYPE_FP32 dims: [-1] }\n",
    )


def load_and_count(server):
    with InferenceServerClient(server.grpc) as client:
        client.load_model("double")
    return psutil.Process(server.guard.process.pid).children(recursive=True)


def segments(label):
    return list(Path("/dev/shm").glob(f"{label}*"))  # noqa: S108


def running(process):
    try:  # one that only waits to be reaped, perhaps by a lazy init, is gone
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(below, *folders, seconds=15.0):
    deadline = time.monotonic() + seconds
    while any(running(p) for p in below) or any(f.exists() for f in folders):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_it_serves_on_the_loopback_and_leaves_nothing_behind(installation, repository):
    with EmbeddedServer(installation, [repository.root]) as server:
        assert server.name == "tritonserver 2.51.0 (24.10), embedded"
        assert server.release == "24.10"
        below = load_and_count(server)
        assert len(below) == 2  # tritonserver and one stub
        sockets = [c for p in below for c in p.net_connections() if c.status == "LISTEN"]
        assert {c.laddr.ip.removeprefix("::ffff:") for c in sockets} == {"127.0.0.1"}
        assert 10e6 < server.memory() < 1e9
        assert server.alive()
        label, scratch = server._label, server._scratch
        assert segments(label)
    assert not server.alive()
    assert gone(below, scratch, seconds=0)
    assert not segments(label)
    assert "successfully loaded 'double'" in server.log()
    assert server.memory() == 0


def test_two_servers_run_beside_each_other(installation, repository):
    with (
        EmbeddedServer(installation, [repository.root]) as one,
        EmbeddedServer(installation, [repository.root]) as other,
    ):
        assert one.http != other.http
        below = load_and_count(one)
        load_and_count(other)
        assert all(p.is_running() for p in below)


PYTHON_MODEL = """
import sys

import numpy as np
import triton_python_backend_utils as pb

import beside


class TritonPythonModel:
    def execute(self, requests):
        import os

        texts = [beside.WORD, os.getcwd(), sys.prefix, *sorted(os.environ)]
        answer = pb.Tensor("y", np.array(texts, dtype=object))
        return [pb.InferenceResponse([answer]) for _ in requests]
"""


def test_a_python_model_sees_the_runtime_and_nothing_of_the_user(
    installation, other_repository, monkeypatch
):
    monkeypatch.setenv("SOME_SECRET", "hush")
    folder = other_repository.root / "told" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(PYTHON_MODEL)
    (folder / "beside.py").write_text("WORD = 'beside'\n")
    other_repository.configure(
        "told",
        "input { name: 'x' data_type: TYPE_FP32 dims: [1] }\n"
        "output { name: 'y' data_type: TYPE_STRING dims: [-1] }\n",
        backend="python",
    )
    with (
        EmbeddedServer(installation, [other_repository.root]) as server,
        InferenceServerClient(server.grpc) as client,
    ):
        client.load_model("told")
        x = InferInput("x", [1], "FP32")
        x.set_data_from_numpy(np.zeros(1, np.float32))
        answer = [text.decode() for text in client.infer("told", [x]).as_numpy("y")]
        assert answer[:3] == [
            "beside",
            str(server._scratch),
            str(installation.runtime.parent.parent),
        ]
        assert "SOME_SECRET" not in answer
    # what is served stays what was built
    assert sorted(p.name for p in folder.iterdir()) == ["beside.py", "model.py"]


def test_everything_is_loaded_where_not_explicit(installation, repository):
    with (
        EmbeddedServer(installation, [repository.root], Launch(explicit=False)) as server,
        InferenceServerClient(server.grpc) as client,
    ):
        assert client.is_model_ready("double")


def test_an_exception_in_the_block_stops_it_and_passes_through(installation, repository):
    server = EmbeddedServer(installation, [repository.root])
    below = []

    def use():
        with server:
            below.extend(load_and_count(server))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert gone(below, server._scratch, seconds=0)


PROGRAM = """
import pathlib, sys, time
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.embedded.install import ensure
from tritonclient.grpc import InferenceServerClient, InferInput
installation = ensure("24.10", pathlib.Path(sys.argv[1]), print)
server = EmbeddedServer(installation, [pathlib.Path(sys.argv[2])])
with server:
    with InferenceServerClient(server.grpc) as client:
        client.load_model("double")
    print(server._label, server._scratch, server.guard.process.pid, flush=True)
    for _ in range(1000):  # short ones: a signal just before a long sleep would wait for its end
        time.sleep(0.1)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_parent_leaves_nothing_behind(installation, repository, cache, how):
    command = [sys.executable, "-c", PROGRAM, str(cache), str(repository.root)]
    # its own process group, so that a SIGINT reaches it as a terminal's Ctrl-C would
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, process_group=0
    ) as parent:
        label, scratch, supervisor = parent.stdout.readline().split()
        below = psutil.Process(int(supervisor)).children(recursive=True)
        below.append(psutil.Process(int(supervisor)))
        assert len(below) == 3
        os.killpg(parent.pid, how)
        parent.wait(30)
        assert gone(below, Path(scratch))
    assert not segments(label)


def test_a_killed_supervisor_leaves_nothing_behind(installation, repository):
    with EmbeddedServer(installation, [repository.root]) as server:
        below = load_and_count(server)
        label, scratch = server._label, server._scratch
        server.guard.process.kill()
        assert gone(below, seconds=10)
    assert not scratch.exists()
    assert not segments(label)


def test_a_dead_server_is_not_alive_and_its_stubs_are_gone(installation, repository):
    with EmbeddedServer(installation, [repository.root]) as server:
        below = load_and_count(server)
        below[0].kill()
        assert gone(below[:1])
        assert not server.alive()
        assert gone(below)


def test_a_taken_port_is_named(installation, repository):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        given = (*ports.pick()[:2], port)
        with (
            pytest.raises(InputError, match="port cannot be used") as caught,
            EmbeddedServer(installation, [repository.root], Launch(ports=given)),
        ):
            pass
    assert caught.value.where == f"127.0.0.1:{port}"


def test_one_port_for_two_protocols_is_refused(installation, repository):
    with (
        pytest.raises(InputError, match="two protocols"),
        EmbeddedServer(installation, [repository.root], Launch(ports=(18000, 18000, 18002))),
    ):
        pass


def test_given_ports_are_used(installation, repository):
    given = ports.pick()
    with EmbeddedServer(installation, [repository.root], Launch(ports=given)) as server:
        assert (server.http, server.grpc, server.metrics) == tuple(f"127.0.0.1:{p}" for p in given)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_picked_port_that_somebody_else_took_is_picked_again(
    installation, repository, monkeypatch, which
):
    real = ports.pick
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        picks = [real(), real()]
        picks[0] = tuple(
            other.getsockname()[1] if n == which else p for n, p in enumerate(picks[0])
        )
        left = iter(picks)
        monkeypatch.setattr(ports, "pick", lambda: next(left))
        with EmbeddedServer(installation, [repository.root]) as server:
            assert server.http == f"127.0.0.1:{picks[1][0]}"


def test_a_missing_repository_is_an_input_error(installation, tmp_path):
    with (
        pytest.raises(InputError, match="no model repository"),
        EmbeddedServer(installation, [tmp_path / "nowhere"]),
    ):
        pass


@pytest.fixture
def broken(tmp_path):
    folder = tmp_path / "broken" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"no model")
    (folder.parent / "config.pbtxt").write_text(
        "name: 'broken'\nbackend: 'onnxruntime'\n"
        "instance_group { kind: KIND_CPU count: 1 }\n"
        "input { name: 'x' data_type: TYPE_FP32 dims: [-1] }\n"
        "output { name: 'y' data_type: TYPE_FP32 dims: [-1] }\n"
    )
    return tmp_path


def test_a_broken_model_says_why_it_does_not_load(installation, broken):
    with (
        EmbeddedServer(installation, [broken]) as server,
        InferenceServerClient(server.grpc) as client,
    ):
        with pytest.raises(InferenceServerException, match=r"Runtime 1.19.2 refuses"):
            client.load_model("broken")
        assert client.is_server_live()


def test_a_server_that_ends_at_start_names_the_model_and_why(installation, broken):
    with (
        pytest.raises(WorkFailedError, match="cannot load broken, version 1") as caught,
        EmbeddedServer(installation, [broken], Launch(explicit=False)),
    ):
        pass
    assert "1.19.2 refuses" in str(caught.value.detail)


def test_a_server_that_is_not_live_in_time_is_stopped(installation, repository):
    server = EmbeddedServer(installation, [repository.root], Launch(ready_timeout=0))
    with pytest.raises(WorkFailedError, match="not live after 0 s"), server:
        pass
    assert not server.alive()
    assert not server._scratch.exists()


def made(installation, repository):
    return lambda launch: EmbeddedServer(installation, [repository.root], launch)


def serve_until_ready(installation, repository, **options):
    """Serves in this thread, interrupted as by Ctrl-C as soon as it says it is ready."""
    said: list[str] = []

    def interrupt():
        deadline = time.monotonic() + 60
        while not any(line.startswith("ready") for line in said) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        signal.raise_signal(signal.SIGINT)

    stopper = threading.Thread(target=interrupt)
    stopper.start()
    foreground.serve(made(installation, repository), repository.root, None, said.append, **options)
    stopper.join()
    return said


def test_serving_in_the_foreground_ends_with_ctrl_c(installation, repository):
    said = serve_until_ready(installation, repository)
    first_words = " ".join(line.split()[0] for line in said)
    assert first_words == "starting http grpc metrics loaded ready; stopping stopped"
    assert "double" in said[4]


def test_serving_tells_the_whole_log_where_asked(installation, repository):
    said = serve_until_ready(installation, repository, verbose=True)
    assert any("Started Metrics" in line for line in said)
    assert said[-1] == "stopped"


def test_a_server_that_dies_while_serving_is_an_error(installation, repository):
    others = set(psutil.Process().children(recursive=True))  # servers that other tests share

    def kill_when_ready(line):
        if line.startswith("ready"):
            for below in set(psutil.Process().children(recursive=True)) - others:
                if below.name() == "tritonserver":
                    below.kill()

    with pytest.raises(WorkFailedError, match="ended by itself"):
        foreground.serve(made(installation, repository), repository.root, None, kill_when_ready)
