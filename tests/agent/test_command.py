"""The command: what it imports, what it refuses, how it ends."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from builder.agent.home import Home
from tests.agent.sidecar import Sidecar, wait
from tests.agent.zoo import Model

pytestmark = pytest.mark.slow

AWAY = ["--http=127.0.0.1:1", "--grpc=127.0.0.1:1", "--port=0"]


def agent(folder, store, *options):
    command = [sys.executable, "-m", "builder", "agent", "prod", str(folder)]
    command += ["--store", getattr(store, "url", store), *AWAY, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_needs_little_to_be_imported():
    script = (
        "import builder.cli.agent, builder.agent.follow, builder.agent.web, builder.agent.source\n"
        "import sys; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"numpy", "pydantic", "yaml", "rich", "grpc", "obstore", "tritonclient"}


def test_once_without_a_server_says_what_is_missing(folder, store):
    store.promote(store.publish({"m": Model()}))
    done = agent(folder, store, "--once")
    assert done.returncode == 3
    assert "Triton does not answer" in done.stderr
    assert (folder / "m" / "config.pbtxt").is_file()  # it can start on that


def test_once_without_a_channel_says_which_there_are(folder, store):
    store.promote(store.publish({"m": Model()}), "staging")
    done = agent(folder, store, "--once")
    assert done.returncode == 3
    assert "staging" in done.stdout
    assert "there is no such channel" in done.stderr
    assert "does not answer" not in done.stderr


def test_a_store_that_is_not_there_is_an_error(folder, tmp_path):
    done = agent(folder, (tmp_path / "nowhere").as_uri(), "--once")
    assert done.returncode in {2, 3}
    assert "nowhere" in done.stderr


@pytest.mark.parametrize("option", ["--interval=10", "--load-timeout=soon", "--port=70000"])
def test_options_that_mean_nothing_are_refused(folder, store, option):
    assert agent(folder, store, option).returncode == 2


def test_a_second_agent_is_told(folder, store):
    with Home(folder).lock():
        done = agent(folder, store)
    assert done.returncode == 2
    assert "another agent" in done.stderr


def test_a_port_that_is_taken_is_told(folder, store):
    import socket

    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        done = agent(folder, store, f"--port={taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "port cannot be used" in done.stderr


class Nowhere:
    """A server that is not there."""

    http = grpc = "127.0.0.1:1"


def test_it_waits_for_a_server_and_says_that_it_is_not_ready(folder, store):
    release = store.publish({"m": Model()})
    store.promote(release)
    with Sidecar(Nowhere(), folder, store) as sidecar:
        sidecar.wait("placed", release=release)
        wait(lambda: sidecar.get("/healthz")[0] == 200)
        assert sidecar.get("/readyz")[0] == 503
        wait(lambda: sidecar.metrics().get('state{state="down"}') == 1)
        assert sidecar.metrics()["server_up"] == 0
        assert sidecar.stop() == 0
        assert sidecar.events[-1]["event"] == "stopped"


def test_where_nothing_good_is_served_the_channel_is_followed_without_a_server(folder, store):
    store.promote(store.publish({"m": Model()}))
    with Sidecar(Nowhere(), folder, store) as sidecar:
        sidecar.wait("placed")
        second = store.publish({"m": Model({2: 2})})
        store.promote(second)
        sidecar.wait("placed", release=second)


def test_lines_are_for_people_unless_json_is_asked_for(folder, store):
    store.promote(store.publish({"m": Model()}))
    plain = agent(folder, store, "--once").stdout
    assert "is in place" in plain
    for line in agent(folder, store, "--once", "--json").stdout.splitlines():
        assert {"at", "event", "text"} <= json.loads(line).keys()
