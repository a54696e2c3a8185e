"""The shared cache in a real S3 server, through whole builds: good days and bad ones."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.flow.machines import ALL, CHANGED, machines, warnings
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.stores.ceph"]
pytestmark = pytest.mark.live


@pytest.fixture
def bucket(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE", f"s3://{s3.bucket()}/cache")


@pytest.fixture
def proxy(s3, bucket, monkeypatch):
    with faults.before(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return machines(tmp_path, monkeypatch)


def test_cold_then_warm(bucket, machine):
    ran, clean, said = machine("cold")
    assert ran == ALL
    ran, found, said = machine("warm")
    assert ran == set()
    assert found == clean
    assert warnings(said) == []


def test_a_change_on_a_warm_machine_reaches_the_others(bucket, machine):
    machine("cold")
    assert machine("warm", CHANGED)[0] == {"reference one", "config one"}
    assert machine("third", CHANGED)[0] == set()


def test_read_only_leaves_the_store_as_it_is(proxy, machine, monkeypatch):
    machine("cold")
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE_READ_ONLY", "1")
    proxy.requests.clear()
    assert machine("fork", CHANGED)[0] == {"reference one", "config one"}
    assert {request.split()[0] for request in proxy.requests} <= {"GET", "HEAD"}
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE_READ_ONLY", "0")
    assert machine("trusted", CHANGED)[0] == {"reference one", "config one"}


@pytest.mark.parametrize("what", ["flip", "cut"])
def test_blobs_that_come_corrupt_or_truncated_are_built_here(proxy, machine, what):
    _, clean, _ = machine("cold")
    proxy.faults = [Fault(what, "/blobs/")]
    ran, found, said = machine("warm")
    assert ran == ALL
    assert found == clean
    assert len(warnings(said)) == 1, "\n".join(warnings(said))
    proxy.faults = []
    assert machine("warm")[0] == set()


@pytest.mark.parametrize("what", ["flip", "cut"])
def test_records_that_come_corrupt_or_truncated_are_no_hits(proxy, machine, what):
    _, clean, _ = machine("cold")
    proxy.faults = [Fault(what, "/actions/")]
    ran, found, said = machine("warm")
    assert found == clean
    assert ran <= ALL
    assert len(warnings(said)) <= 1


def test_a_slow_store_is_left_out_and_the_build_goes_on(proxy, machine):
    _, clean, _ = machine("cold")
    proxy.faults = [Fault("hang", "/actions/")]
    ran, found, said = machine("warm")
    assert ran == ALL
    assert found == clean
    assert len(warnings(said)) == 1, "\n".join(warnings(said))


def test_a_far_store_is_asked_for_many_things_at_once(proxy, machine):
    machine("cold")
    proxy.latency = 0.02
    assert machine("warm")[0] == set()


@pytest.mark.parametrize("place", ["GET", "PUT", "/actions/", "/blobs/"])
def test_a_store_that_goes_in_the_middle_of_a_build_costs_one_warning(proxy, machine, place):
    _, clean, _ = machine("cold")
    proxy.faults = [Fault("gone", place, skip=2)]
    ran, found, said = machine("warm", CHANGED)
    assert {"reference one", "config one"} <= ran <= ALL
    assert len(found) == len(clean)
    assert len(warnings(said)) == 1, "\n".join(warnings(said))


def test_two_machines_that_build_the_same_at_once_do_no_harm(bucket, machine, tmp_path):
    machine("cold")
    roots = [tmp_path / name / "project" for name in ("left", "right")]
    for root in roots:
        shutil.copytree(tmp_path / "cold" / "project" / "models", root / "models")
        shutil.copy(tmp_path / "cold" / "project" / "pyproject.toml", root)
        source = root / "models" / "one" / "source.py"
        source.write_text(CHANGED)
    builds = [
        subprocess.Popen(
            [sys.executable, "-m", "builder", "-C", str(root), "build", "--no-validate"],
            env={**os.environ, "TRITON_BUILDER_CACHE": str(root.parent / "cache")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for root in roots
    ]
    for build in builds:
        _, said = build.communicate()
        assert build.returncode == 0, said
        assert warnings(said.splitlines()) == []
    assert machine("after", CHANGED)[0] == set()


def test_an_interrupt_gets_through_a_store_that_hangs(proxy, machine, tmp_path):
    machine("cold")
    proxy.faults = [Fault("hang", "/actions/")]
    proxy.requests.clear()
    root = tmp_path / "cold" / "project"
    process = subprocess.Popen(
        [sys.executable, "-m", "builder", "-C", str(root), "build", "--no-validate"],
        env={**os.environ, "TRITON_BUILDER_CACHE": str(tmp_path / "empty")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    deadline = time.monotonic() + 20
    while not any("/actions/" in request for request in proxy.requests):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=5)
    assert process.returncode == 130
    assert "interrupted" in said
