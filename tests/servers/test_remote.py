"""A server that somebody else runs: what it takes to ask it, and how it is left."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading

import pytest

from builder.errors import InputError, MissingError, WorkFailedError
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.launch import Launch
from builder.servers.ports import HOST, pick
from builder.servers.reach import Reach, addresses
from builder.servers.remote import RemoteServer
from builder.triton.releases import release
from builder.validation.live import validate
from builder.validation.probes import IDENTITY, probes
from tests.certificates import issued
from tests.validation.zoo import ALL, QUEUE, Zoo, warmup

RELEASE = release("24.10")
SECRET = "geheim"  # noqa: S105 - of a server that lives as long as the test


def reach(server, **more):
    return Reach((f"http://{server.http}", f"grpc://{server.grpc}"), **more)


@pytest.mark.parametrize(
    ("urls", "found"),
    [
        (["http://a:8000"], ("a:8000", "a:8001", False)),
        (["grpc://a:8001"], ("a:8000", "a:8001", False)),
        (["grpcs://a:443", "https://b:444/"], ("b:444", "a:443", True)),
        (["http://[::1]:9000"], ("[::1]:9000", "[::1]:9001", False)),
    ],
)
def test_of_one_address_the_other_is_the_neighbouring_port(urls, found):
    assert addresses(urls) == found


@pytest.mark.parametrize(
    "urls",
    [
        ["a:8000"],
        ["http://a"],
        ["http://a:x"],
        ["http://a:8000/v2"],
        ["ftp://a:21"],
        ["http://a:1", "http://b:2"],
        ["http://a:1", "grpcs://a:2"],
        [],
    ],
)
def test_what_is_no_address_is_an_error_that_says_what_is(urls):
    with pytest.raises(InputError):
        addresses(urls)


def test_a_token_is_in_no_text_of_it():
    assert SECRET not in repr(Reach(("http://a:1",), token=SECRET))


def test_the_command_line_counts_before_the_environment_and_that_before_the_target(monkeypatch):
    monkeypatch.delenv("TRITON_BUILDER_SERVER_URL", raising=False)
    assert Reach.told((), ("http://target:1",)).urls == ("http://target:1",)
    monkeypatch.setenv("TRITON_BUILDER_SERVER_URL", "http://env:1 grpc://env:7")
    assert Reach.told((), ("http://target:1",)).urls == ("http://env:1", "grpc://env:7")
    assert Reach.told(("http://given:1",), ("http://target:1",)).urls == ("http://given:1",)


def test_a_server_that_is_not_there_is_missing(tmp_path):
    urls = (f"http://{HOST}:{pick()[0]}",)
    with (
        pytest.raises(MissingError, match="does not answer") as caught,
        RemoteServer(Reach(urls), [tmp_path], RELEASE),
    ):
        pass
    assert urls[0].removeprefix("http://") == caught.value.where


class _Guarded(http.server.BaseHTTPRequestHandler):
    """Answers whoever has the token, as a Triton of another release."""

    def do_GET(self):
        right = self.headers.get("Authorization") == f"Bearer {SECRET}"
        body = b'{"name": "triton", "version": "2.60.0"}' if right else b'{"error": "who are you"}'
        self.send_response(200 if right else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def guarded():
    with http.server.ThreadingHTTPServer((HOST, 0), _Guarded) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_token_lets_us_in_and_another_release_is_told_from_the_targets(guarded, tmp_path):
    with (
        pytest.raises(MissingError, match="does not let us in") as shut,
        RemoteServer(Reach((guarded,)), [tmp_path], RELEASE),
    ):
        pass
    assert "TRITON_BUILDER_SERVER_TOKEN" in shut.value.fix
    with (
        pytest.raises(WorkFailedError, match="release") as other,
        RemoteServer(Reach((guarded,), token=SECRET), [tmp_path], RELEASE),
    ):
        pass
    assert other.value.found == "tritonserver 2.60.0"
    assert "2.51.0" in other.value.expected


# --- a real one ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    return Zoo(tmp_path_factory.mktemp("remote") / "models")


@pytest.fixture(scope="module")
def member(zoo):
    config = QUEUE + ALL + warmup(1, 8)
    return zoo.add("member", config=config, versions=(1, 2), warmup=(1, 8), timeout_us=5_000_000)


@pytest.fixture(scope="module")
def mine(zoo, member, tmp_path_factory):
    """The folders that we have, and the server has not."""
    return [zoo.root, probes(tmp_path_factory.mktemp("probes"))]


@pytest.fixture
def start(installation, tmp_path):
    """Starts somebody's server, on folders of theirs."""
    empty = tmp_path / "theirs"
    empty.mkdir()
    running = []

    def make(*folders, **options):
        server = EmbeddedServer(installation, folders or [empty], Launch(**options))
        running.append(server)
        return server.__enter__()

    yield make
    for server in running:
        server.__exit__(None, None, None)


def ready(server, model):
    from builder.servers.endpoint import Endpoint, RefusedError

    try:
        Endpoint(server.http).call("GET", f"/v2/models/{model}/ready")
    except RefusedError:
        return False
    return True


@pytest.mark.live
def test_models_are_sent_proven_and_gone_again(start, member, mine):
    theirs = start()
    with RemoteServer(reach(theirs), mine, RELEASE) as server:
        verdicts = validate(server, [member], say=lambda _: None)
        assert ready(theirs, "member")
    assert all(v.passed for v in verdicts), [v.failures for v in verdicts]
    checks = {f.check for v in verdicts for f in v.findings}
    assert {"ready", "data", "goldens", "batch", "concurrency", "probe", "errors"} <= checks
    assert {v.server for v in verdicts} == {"tritonserver 2.51.0 (24.10), remote"}
    assert not ready(theirs, "member")
    assert not ready(theirs, IDENTITY)


@pytest.mark.live
def test_what_it_has_in_its_own_repository_is_loaded_from_there(start, member, mine):
    theirs = start(*mine)
    with RemoteServer(reach(theirs), mine, RELEASE) as server:
        assert server.control.upload("member") is None
        verdicts = validate(server, [member], say=lambda _: None)
    assert all(v.passed for v in verdicts), [v.failures for v in verdicts]
    assert not ready(theirs, "member")


@pytest.mark.live
def test_what_it_served_before_is_asked_as_it_is_and_served_on(start, member, mine):
    theirs = start(*mine, preload=True)
    with RemoteServer(reach(theirs), mine, RELEASE) as server:
        assert server.control.served == {"member", IDENTITY}
        verdicts = validate(server, [member], say=lambda _: None)
    assert all(v.passed for v in verdicts), [v.failures for v in verdicts]
    assert "ready" not in {f.check for v in verdicts for f in v.findings}
    assert ready(theirs, "member")
    assert ready(theirs, IDENTITY)


@pytest.mark.live
def test_a_server_that_loads_nothing_on_request_is_asked_what_it_serves(start, zoo, member, mine):
    theirs = start(*mine, explicit=False)
    absent = zoo.add("absent")
    with RemoteServer(reach(theirs), mine, RELEASE) as server:
        assert not server.control.loads
        found = {v.model: v for v in validate(server, [member, absent], say=lambda _: None)}
    assert found["member"].passed, found["member"].failures
    (failure,) = found["absent"].failures
    assert failure.check == "ready"
    assert "loads no models" in failure.reason
    assert ready(theirs, "member")


@pytest.mark.live
def test_through_a_folder_that_both_see_ensembles_pass_too(start, zoo, member, mine, tmp_path):
    theirs = tmp_path / "shared"
    theirs.mkdir()
    ensemble = zoo.add_ensemble("ensemble", "member")
    with RemoteServer(reach(start(theirs), shared=theirs), mine, RELEASE) as server:
        verdicts = validate(server, [ensemble, member], say=lambda _: None)
    assert all(v.passed for v in verdicts), [v.failures for v in verdicts]
    assert list(theirs.iterdir()) == []


@pytest.mark.live
def test_a_model_of_theirs_in_that_folder_is_not_touched(start, mine, tmp_path):
    theirs = tmp_path / "shared"
    (theirs / "member").mkdir(parents=True)
    (theirs / "member" / "notes").write_text("theirs")
    server = start(theirs)
    with (
        pytest.raises(InputError, match="has a model of that name"),
        RemoteServer(reach(server, shared=theirs), mine, RELEASE),
    ):
        pass
    assert [p.name for p in theirs.iterdir()] == ["member"]
    assert (theirs / "member" / "notes").read_text() == "theirs"


@pytest.mark.live
def test_over_tls_with_certificates_of_ones_own(start, member, mine, tmp_path, monkeypatch):
    theirs = start()
    certificates = issued(tmp_path / "tls")
    context = certificates.context()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    with _behind_tls(theirs.http, context) as http, _behind_tls(theirs.grpc, context) as grpc:
        urls = (f"https://localhost:{http}", f"grpcs://localhost:{grpc}")
        with RemoteServer(Reach(urls, token=SECRET), mine, RELEASE) as server:
            verdicts = validate(server, [member], say=lambda _: None)
    assert all(v.passed for v in verdicts), [v.failures for v in verdicts]
    assert not ready(theirs, "member")


class _behind_tls:  # noqa: N801 - used as a function
    """A port that speaks TLS and passes on what it gets."""

    def __init__(self, address: str, context: ssl.SSLContext) -> None:
        host, port = address.split(":")
        self._there, self._context = (host, int(port)), context
        self._socket = socket.create_server((HOST, 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> int:
        self._thread.start()
        return self._socket.getsockname()[1]

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        try:
            near = self._context.wrap_socket(plain, server_side=True)
        except (OSError, ssl.SSLError):
            return
        with near, socket.create_connection(self._there) as far:
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
