"""Registries that refuse, fail, hang or end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder.errors import MissingError, WorkFailedError
from tests.release.attest.releases import release
from tests.release.oci.pushes import at, copied, files, tags
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.release.oci.fixture"]
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("at_home")]


def test_nobody_listens(registry, cpu):
    with faults.before(registry.port) as gone:
        host = at(gone)
    said = []
    with pytest.raises(MissingError, match="cannot be reached"):
        cpu.push(host, say=said.append)
    assert any("again in" in line for line in said)


def test_a_host_that_does_not_exist(cpu):
    with pytest.raises(MissingError, match="cannot be reached"):
        cpu.push("registry.invalid")


@pytest.mark.parametrize("where", ["HEAD", "POST", "PUT", "/manifests/", "/blobs/"])
@pytest.mark.parametrize("fault", ["busy", "broken"])
def test_passing_faults_are_outlived(tmp_path, registry, proxy, cpu, where, fault):
    what, status = ("refuse", 503) if fault == "busy" else ("close", 0)
    proxy.faults = [Fault(what, where, skip=1, times=2, status=status)]
    cpu.push(at(proxy))
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:v1") == files(cpu.folder)


REFUSALS = {
    500: (WorkFailedError, "the registry fails"),
    404: (WorkFailedError, "no such repository"),
    400: (WorkFailedError, "the registry refuses"),
    413: (WorkFailedError, "the registry refuses"),
    403: (MissingError, "nobody is logged in"),
    401: (MissingError, "nobody is logged in"),
}


@pytest.mark.parametrize("where", ["POST", "PUT"])
@pytest.mark.parametrize("status", REFUSALS)
def test_refusals_are_told(proxy, cpu, where, status):
    proxy.faults = [Fault("refuse", where, status=status)]
    kind, words = REFUSALS[status]
    with pytest.raises(kind, match=words) as refused:
        cpu.push(at(proxy))
    assert f"status {status}" in str(refused.value)


def test_a_registry_that_dies_is_told_and_what_it_has_is_not_sent_again(
    tmp_path, proxy, registry, cpu
):
    proxy.faults = [Fault("gone", "PUT", skip=3)]
    with pytest.raises(MissingError, match="cannot be reached"):
        cpu.push(at(proxy))
    assert tags(registry, cpu.name) == []
    done = cpu.push(registry.host)
    assert 0 < done.layers < 8
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:v1") == files(cpu.folder)


@pytest.mark.parametrize("where", ["POST", "PUT", "/manifests/sha256"])
def test_a_push_that_fails_leaves_the_tag_where_it_was(tmp_path, proxy, registry, cpu, where):
    cpu.push(registry.host)
    before = files(cpu.folder)
    cpu.change()
    proxy.faults = [Fault("refuse", where, status=400)]
    with pytest.raises(WorkFailedError):
        cpu.push(at(proxy))
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:v1") == before


def test_a_registry_that_says_it_has_what_it_has_not_is_found_out(proxy, registry, cpu):
    proxy.faults = [Fault("refuse", "/blobs/sha256", status=307)]  # to a storage behind it
    with pytest.raises(WorkFailedError, match="BLOB_UNKNOWN"):
        cpu.push(at(proxy))
    assert tags(registry, cpu.name) == []


def test_an_interrupt_gets_through_a_registry_that_hangs(proxy, cpu):
    proxy.faults = [Fault("hang", "PUT")]
    script = f"""
from pathlib import Path
from builder.release.oci.push import Options, push
folder = Path({str(cpu.folder)!r})
push(folder, (folder / "manifest.json").read_bytes(), "{at(proxy)}/{cpu.name}", Options())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not any(request.startswith("PUT") for request in proxy.requests):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in said


def test_a_refusal_before_all_is_sent_is_told(cpu):
    large = {"1000000/weights.bin": os.urandom(4 << 20)}
    cpu.manifest = release(cpu.folder, {"large": large})
    with hasty() as host, pytest.raises((WorkFailedError, MissingError), match=r"413|reset|pipe"):
        cpu.push(host)


@contextlib.contextmanager
def hasty():
    """A registry that has nothing, and answers an upload by 413 before it has read it."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(404)

        def do_POST(self):
            self.answer(202, Location="/v2/upload")

        def do_PUT(self):
            self.answer(413)
            self.close_connection = True

        def answer(self, status, **headers):
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_):
            """Tests are quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
