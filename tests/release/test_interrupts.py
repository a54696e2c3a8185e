"""Ctrl-C in the middle of anything: it ends soon, whatever it waits for, and goes on later."""

import os
import signal
import time

import pytest

from builder.remote.limits import PART
from tests.release.commands import ended, right, start
from tests.release.trees import files, repository
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.stores.ceph"]
pytestmark = [pytest.mark.live, pytest.mark.slow]

SOON = 10.0
"""Seconds, on a machine that does much else; two are meant."""


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    models = {"a": {"1": {"weights": os.urandom(3 * PART), "f": b"1"}}}
    repository(root / "repository" / "cpu", models)
    (root / "pyproject.toml").write_text(
        '[tool.triton-builder]\ndefault-target = "cpu"\n'
        '[tool.triton-builder.targets.cpu]\ntriton = "24.10"\ndevice = "cpu"\n'
    )
    return root


@pytest.fixture
def url(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket()}/r"


@pytest.fixture
def proxy(s3, url, monkeypatch):
    with faults.before(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupted(process, number=signal.SIGINT):
    process.send_signal(number)
    done = ended(process, timeout=SOON)
    assert done.code == 130, done.err
    assert "interrupted; what was finished is kept" in done.err
    return done


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_publication(proxy, url, project, tmp_path, number):
    publish = ("-C", project, "publish", "--store", url)
    proxy.rate = 4e6
    process = start(*publish)
    until(lambda: any("uploadId" in request for request in proxy.requests))
    interrupted(process, number)
    proxy.rate = None
    assert right("releases", "--store", url, "--json").json["releases"] == []
    right(*publish, "--channel", "prod")
    right("pull", "prod", tmp_path / "pod", "--store", url)
    assert files(tmp_path / "pod") == files(project / "repository" / "cpu")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pull(proxy, url, project, tmp_path, number):
    right("-C", project, "publish", "--channel", "prod", "--store", url)
    pull = ("pull", "prod", tmp_path / "pod", "--store", url)
    proxy.rate = 8e6
    process = start(*pull)
    until(lambda: any(p.stat().st_size for p in tmp_path.rglob("*.partial")))
    interrupted(process, number)
    assert not (tmp_path / "pod").exists()
    proxy.rate = None
    proxy.requests.clear()
    right(*pull)
    assert files(tmp_path / "pod") == files(project / "repository" / "cpu")
    assert sum("/blobs/" in request for request in proxy.requests) < 3 + 2  # parts, small files


@pytest.mark.parametrize("where", ["/pending/", "/blobs/", "/claims/", "/manifests/", ""])
def test_a_publication_that_hangs(proxy, url, project, where):
    proxy.faults = [Fault("hang", where)]
    process = start("-C", project, "publish", "--store", url)
    until(lambda: any(where in request for request in proxy.requests))
    interrupted(process)


@pytest.mark.parametrize("what", [("releases",), ("gc", "--releases"), ("pull", "prod", "pod")])
def test_others_that_hang(proxy, url, tmp_path, what):
    proxy.faults = [Fault("hang")]
    process = start(*what, "--store", url, cwd=tmp_path)
    until(lambda: proxy.requests)
    interrupted(process)


def test_a_pull_that_waits_for_another(proxy, url, project, tmp_path):
    right("-C", project, "publish", "--channel", "prod", "--store", url)
    pull = ("pull", "prod", tmp_path / "pod", "--store", url)
    proxy.faults = [Fault("hang", "/blobs/")]
    proxy.requests.clear()
    holder = start(*pull)
    until(lambda: any("/blobs/" in request for request in proxy.requests))
    waiter = start(*pull)
    assert "another process changes pod" in waiter.stderr.readline()
    interrupted(waiter)
    interrupted(holder)


def test_a_publication_that_waits_for_a_collection(proxy, url, project):
    right("-C", project, "publish", "--store", url)
    proxy.faults = [Fault("hang", "list-type")]
    proxy.requests.clear()
    collection = start("gc", "--releases", "--store", url)
    until(lambda: any("list-type" in request for request in proxy.requests))
    publication = start("-C", project, "publish", "--store", url)
    assert "releases are being collected there" in publication.stderr.readline()
    interrupted(publication)
    interrupted(collection)
    proxy.faults = []
    right("-C", project, "publish", "--store", url)
