"""A real registry: what goes there, what comes back by another client, and all that can fail."""

import base64
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder.errors import MissingError, WorkFailedError
from builder.release.attest.attestations import attestations
from builder.release.oci import http
from builder.release.oci.push import Options, push
from builder.release.oci.reference import parse
from builder.release.oci.registry import Registry
from tests.certificates import issued
from tests.release.attest.releases import ENCODER, MODELS, release
from tests.release.oci.registry import HTPASSWD as LOGINS
from tests.release.oci.registry import PASSWORD, USER, serving, skopeo
from tests.release.oci.tokens import issuing
from tests.stores import faults
from tests.stores.faults import Fault

pytest_plugins = ["tests.release.oci.fixture"]
pytestmark = pytest.mark.slow

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CHANGED = {**MODELS, "encoder": {**ENCODER, "1002000/model.onnx": b"weights of 1.2"}}
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """Nobody is logged in anywhere, and nobody waits long."""
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(http, "PAUSE", 0.01)


@pytest.fixture
def proxy(registry):
    with faults.before(registry.port) as proxy:
        yield proxy


class Cpu:
    """A repository, and where it is pushed to."""

    def __init__(self, folder):
        self.folder = folder
        self.manifest = release(folder)
        self.name = "models/" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]

    def push(self, host, **options):
        target = f"{host}/{self.name}:v1"
        return push(self.folder, self.manifest.encode(), target, Options(**options))

    def change(self):
        """Another version of one model comes: another release."""
        self.manifest = release(self.folder, CHANGED)


@pytest.fixture
def cpu(tmp_path):
    return Cpu(tmp_path / "cpu")


def at(proxy):
    return f"127.0.0.1:{proxy.port}"


def log_in(tmp_path, host, password=PASSWORD, **more):
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    folder = tmp_path / "docker"
    folder.mkdir(exist_ok=True)
    entry = more or {"auth": auth}
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def copied(tmp_path, source):
    """What skopeo brings back, its layers unpacked one over the other."""
    skopeo("copy", "--src-tls-verify=false", f"docker://{source}", f"dir:{tmp_path / 'copy'}")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    for layer in manifest["layers"]:
        content = (tmp_path / "copy" / layer["digest"].removeprefix("sha256:")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == layer["digest"].removeprefix("sha256:")
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
    return files(tmp_path / "unpacked")


# --- good days -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["v1", "v1-modelpack"])
def test_another_client_brings_the_repository_back(tmp_path, registry, cpu, suffix):
    cpu.push(registry.host)
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:{suffix}") == files(cpu.folder)


def test_the_tag_names_the_digest_that_was_told(registry, cpu):
    done = cpu.push(registry.host)
    raw = skopeo(
        "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/{cpu.name}:v1"
    ).encode()
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == done.digest
    skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/{cpu.name}@{done.digest}")
    every = ("--override-arch", "arm64", "inspect", "--tls-verify=false")
    labels = json.loads(skopeo(*every, f"docker://{registry.host}/{cpu.name}:v1"))["Labels"]
    assert labels["triton-builder.release"] == cpu.manifest.digest


def test_a_folder_and_a_registry_give_the_same_digest(tmp_path, registry, cpu):
    there = cpu.push(registry.host)
    here = push(cpu.folder, cpu.manifest.encode(), str(tmp_path / "layout"), Options())
    assert (here.digest, here.model) == (there.digest, there.model)


def test_a_second_push_uploads_nothing(proxy, cpu):
    said = attestations(cpu.manifest, cpu.manifest.digest)
    one = cpu.push(at(proxy), attached=said)
    proxy.requests.clear()
    two = cpu.push(at(proxy), attached=said)
    assert {request.split()[0] for request in proxy.requests} <= {"GET", "HEAD"}
    assert (two.digest, two.layers, two.uploaded, two.new) == (one.digest, 0, 0, False)
    assert (one.layers, one.uploaded, one.new) == (8, one.size, True)


def test_a_change_of_one_model_uploads_its_layers(tmp_path, registry, proxy, cpu):
    cpu.push(at(proxy))
    proxy.requests.clear()
    cpu.change()
    done = cpu.push(at(proxy))
    assert done.layers == 2  # the new version, and the manifest
    blobs = [r for r in proxy.requests if r.startswith("PUT") and "/blobs/" in r]
    assert len(blobs) == 2 + 3  # with the three configurations
    assert copied(tmp_path, f"{registry.host}/{cpu.name}:v1") == files(cpu.folder)


def test_a_tag_moves_and_its_old_digest_stays(tmp_path, registry, cpu):
    one, before = cpu.push(registry.host), files(cpu.folder)
    cpu.change()
    assert cpu.push(registry.host).digest != one.digest
    assert copied(tmp_path, f"{registry.host}/{cpu.name}@{one.digest}") == before


def test_what_is_attested_is_found_beside_the_release(registry, cpu):
    said = attestations(cpu.manifest, cpu.manifest.digest)
    done = cpu.push(registry.host, attached=said)
    tag = done.digest.replace(":", "-")  # this registry is from before OCI 1.1
    listed = json.loads(registry.get(f"{cpu.name}/manifests/{tag}", INDEX))["manifests"]
    found = {}
    for entry in listed:
        value = json.loads(registry.get(f"{cpu.name}/manifests/{entry['digest']}", MANIFEST))
        assert value["subject"]["digest"] == done.digest
        (layer,) = value["layers"]
        title = layer["annotations"]["org.opencontainers.image.title"]
        found[title.removesuffix(".json")] = registry.get(f"{cpu.name}/blobs/{layer['digest']}")
    assert found == said


def test_a_registry_that_lists_referrers_itself_gets_no_tag_for_them(registry, proxy, cpu):
    proxy.faults = [Fault("refuse", "/referrers/", status=200)]  # as OCI 1.1 registries answer
    done = cpu.push(at(proxy), attached={"mlbom": b"{}"})
    assert done.digest.replace(":", "-") not in tags(registry, cpu.name)
    assert f"GET /v2/{cpu.name}/referrers/{done.digest}" in proxy.requests


def test_others_referrers_stay_listed(registry, cpu):
    done = cpu.push(registry.host, attached={"mlbom": b"{}"})
    cpu.push(registry.host, attached={"verdicts": b"{}"})
    tag = done.digest.replace(":", "-")
    assert len(json.loads(registry.get(f"{cpu.name}/manifests/{tag}", INDEX))["manifests"]) == 2


# --- who we are ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A registry that wants a password."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "logins").write_text(LOGINS)
    auth = {"auth": {"htpasswd": {"realm": "here", "path": str(folder / "logins")}}}
    with serving(folder / "registry", auth) as server:
        yield server


def test_a_password_lets_in(tmp_path, guarded, cpu):
    log_in(tmp_path, guarded.host)
    assert cpu.push(guarded.host).layers == 8


def test_skopeo_s_login_lets_in(tmp_path, guarded, cpu, monkeypatch):
    file = tmp_path / "auth.json"
    skopeo("login", "--tls-verify=false", "--authfile", str(file), "--username", USER,
           "--password", PASSWORD, guarded.host)  # fmt: skip
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
    assert cpu.push(guarded.host).layers == 8


def test_without_a_login_it_says_so(guarded, cpu):
    with pytest.raises(MissingError, match="nobody is logged in") as refused:
        cpu.push(guarded.host)
    assert f"docker login {guarded.host}" in str(refused.value)


def test_a_wrong_password_is_refused_and_not_repeated(tmp_path, guarded, cpu):
    log_in(tmp_path, guarded.host, "hunter2-wrong")
    said = []
    with pytest.raises(MissingError, match="refuses the credentials") as refused:
        cpu.push(guarded.host, say=said.append)
    told = str(refused.value) + "".join(said)
    assert "hunter2" not in told
    assert base64.b64encode(f"{USER}:hunter2-wrong".encode()).decode() not in told


@pytest.fixture
def tokens(tmp_path):
    with issuing(tmp_path) as server:
        yield server


@pytest.fixture
def by_token(tmp_path, tokens):
    """A registry that wants a token of a token server."""
    with serving(tmp_path / "by-token", tokens.settings) as server:
        yield server


def test_a_token_is_fetched_with_the_password(tmp_path, tokens, by_token, cpu):
    tokens.basic = BASIC
    log_in(tmp_path, by_token.host)
    assert cpu.push(by_token.host).layers == 8
    assert {"service": ["registry"], "scope": [f"repository:{cpu.name}:pull,push"]} in tokens.asked
    assert len(tokens.asked) == 1  # for all layers, however many ask at once


def test_a_token_is_fetched_with_a_token(tmp_path, tokens, by_token, cpu):
    tokens.basic, tokens.refresh = BASIC, "opaque-refresh"
    log_in(tmp_path, by_token.host, identitytoken="opaque-refresh")
    assert cpu.push(by_token.host).layers == 8
    assert tokens.asked[0]["grant_type"] == ["refresh_token"]


def test_a_token_that_is_not_enough_any_more_is_renewed(tmp_path, tokens, by_token, cpu):
    tokens.grants = ["pull", "pull,push"]
    assert cpu.push(by_token.host).layers == 8
    assert len(tokens.asked) == 2


def test_tokens_that_are_too_old_end_it(tokens, by_token, cpu):
    tokens.age = 3600
    with pytest.raises(MissingError, match="invalid_token"):
        cpu.push(by_token.host)


def test_a_token_server_that_refuses_is_told(tmp_path, tokens, by_token, cpu):
    tokens.basic = BASIC
    log_in(tmp_path, by_token.host, "hunter2-wrong")
    with pytest.raises(MissingError, match="who are you") as refused:
        cpu.push(by_token.host)
    assert "hunter2" not in str(refused.value)


# --- TLS -------------------------------------------------------------------------------------


def test_a_registry_with_tls_is_trusted_by_its_authority(tmp_path, cpu, monkeypatch):
    made = issued(tmp_path / "certificates")
    with serving(tmp_path / "tls", tls=(made.chain, made.key)) as server:
        host = f"https://{server.host}"
        with pytest.raises(MissingError, match="TLS is not to be trusted"):
            cpu.push(host)
        monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
        assert cpu.push(host).layers == 8


# --- bad days --------------------------------------------------------------------------------


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


def tags(registry, name):
    try:
        return json.loads(registry.get(f"{name}/tags/list"))["tags"] or []
    except OSError:
        return []


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


def test_other_bytes_than_their_digest_are_refused(registry):
    there = Registry(parse(f"{registry.host}/wrong"), print)
    digest = "sha256:" + "0" * 64
    with pytest.raises(WorkFailedError, match="DIGEST_INVALID"):
        there.put(digest, 4, [b"evil"])
    assert not there.has(digest, 4)


def test_a_file_that_changes_meanwhile_does_not_go(registry, cpu):
    weights = {"1000000/model.onnx": b"w" * 2_000_000}
    cpu.manifest = release(cpu.folder, {"encoder": weights})

    def say(line):
        if line.startswith("encoder/1000000"):
            (cpu.folder / "encoder" / "1000000" / "model.onnx").write_bytes(b"x" * 2_000_000)

    with pytest.raises(WorkFailedError, match="not as it was built"):
        cpu.push(registry.host, say=say)
    assert tags(registry, cpu.name) == []


def test_memory_stays_small_whatever_the_size(tmp_path, registry):
    large = {f"{n}000000/weights.bin": bytes([n]) * (192 << 20) for n in (1, 2)}
    release(tmp_path / "large", {"large": {"config.pbtxt": b"", **large}})
    script = f"""
import resource
from pathlib import Path
from builder.release.oci.push import Options, push
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
folder = Path({str(tmp_path / "large")!r})
done = push(folder, (folder / "manifest.json").read_bytes(), "{registry.host}/large", Options())
assert done.uploaded > {384 << 20}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10  # KiB
