"""The generated pod, run for real: pulled from a real store, warm before it is ready, hardened."""

import contextlib
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from builder.servers.endpoint import Endpoint, RefusedError, UnreachableError
from builder.triton import probe as probes
from tests.containers import images
from tests.containers.relay import relay
from tests.deploy.cluster import Pod, kustomize
from tests.projects import ECHO_SOURCE, echo, model
from tests.release.attest import sigstore

pytest_plugins = ["tests.containers.fixture", "tests.stores.ceph"]
pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.export]

SLOW = """
import time
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        time.sleep(2)

    def execute(self, requests):
        time.sleep(0.2)
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(r, "x").as_numpy())]
            )
            for r in requests
        ]
"""
OVERLAY = """
resources: [base]
patches:
  - target: {kind: Deployment}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --log-verbose=1}
"""
HASTE = (
    OVERLAY
    + "      - {op: add, path: /spec/template/spec/containers/1/args/-, value: --interval=1s}\n"
)
STAMP = re.compile(r"^[IWE](\d{4} \d\d:\d\d:\d\d\.\d{6})")


@pytest.fixture(scope="module")
def builder(tmp_path_factory, cache):
    """Runs `triton-builder` on a project with an ONNX model and a Python model, both built."""
    folder = tmp_path_factory.mktemp("kube")
    own = folder / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    project = folder / "project"
    model(project)
    spec = echo(project, source=ECHO_SOURCE) / "model.yaml"
    spec.write_text(spec.read_text() + "warmup: [1, 2, 4]\n")
    (project / "models" / "echo" / "model.py").write_text(SLOW)

    def run(*arguments, **environment):
        done = subprocess.run(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**environment, "TRITON_BUILDER_CACHE": str(own), "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (folder / "report.json").write_text(run("build", "--json"))
    return run, project, folder


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Private and public, of whoever signs releases and of somebody else."""
    found = []
    for name in ("ours", "theirs"):
        folder = tmp_path_factory.mktemp(name)
        key = ec.generate_private_key(ec.SECP256R1())
        private, public = folder / "private.pem", folder / "public.pem"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        public.write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        found.append((private, public))
    return found


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A Sigstore of our own, whom pods need not reach: they are given what it is believed by."""
    with sigstore.running(tmp_path_factory.mktemp("sigstore")) as server:
        yield server


@pytest.fixture(scope="module")
def play(builder, engine, installation, s3):
    """Publishes; and then plays the pod of manifests that trust somebody."""
    run, _, folder = builder
    store = f"s3://{s3.bucket()}/releases"

    def publish(*signing, **environment):
        options = (f"--store={store}", *signing, "--channel=prod")
        run("publish", *options, **s3.environment(), **environment)

    def rollback():
        run("rollback", "prod", f"--store={store}", **s3.environment())

    triton, puller = images.tritonserver(engine, installation), images.puller(engine)
    network, gateway = engine.network()
    with relay(gateway, s3.port) as address:
        environment = s3.environment(f"http://{address}")
        credentials = {
            name: environment.pop(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }

        def start(trust, name, overlay_text=OVERLAY, **more):
            settings = {
                "image": triton,
                "pull-image": puller,
                "store": store,
                "credentials": "model-store",
                "environment": environment,
                **trust,
                **more,
            }
            (folder / "deploy.yaml").write_text(yaml.safe_dump(settings))
            overlay = folder / name
            overlay.mkdir()
            (overlay / "kustomization.yaml").write_text(overlay_text)
            files = (f"--settings={folder / 'deploy.yaml'}", f"--report={folder / 'report.json'}")
            run("manifests", *files, f"--out={overlay / 'base'}")
            return Pod(
                engine,
                network,
                kustomize(overlay),
                {"model-store": credentials, "control": {"key": "opensesame"}},
            )

        start.publish, start.rollback = publish, rollback
        yield start


def test_the_generated_pod_serves_what_was_published(play, builder, keys):
    _, project, _ = builder
    private, public = keys[0]
    play.publish(f"--sign-key={private}")
    with play({"verify-key": str(public)}, "served") as pod:
        assert pod.played.returncode == 0, pod.played.stderr + pod.log("pull")
        assert "/models/repository is sha256:" in pod.log("pull")
        said = pod.await_start()
        print(_probe_log(pod, said))
        _is_ready_after_warmup(pod, said)
        _answers_goldens(pod, project)
        _is_hardened(pod)
        assert pod.stop() == 0
        pod.start()
        pod.await_start()
        _a_dead_model_is_noticed(pod)


def _is_ready_after_warmup(pod, said):
    """Readiness changed once, from nobody there to yes, and not before the last warm-up ran."""
    log = [line for line in pod.log("triton").splitlines() if STAMP.match(line)]
    warming = [line for line in log if "is running warmup sample" in line]
    assert len([line for line in warming if "'echo'" in line]) == 3
    assert len([line for line in warming if "'linear'" in line]) == 1
    (_, before), (ready_at, after) = pod.readiness
    assert (before, after) == (None, 200)
    assert max(map(_time, warming)) < ready_at
    listening = next(line for line in log if "Started HTTPService" in line)
    assert log.index(warming[-1]) < log.index(listening)
    assert any("refused" in told for _, told in said)  # until then nobody listened


def _probe_log(pod, said):
    """What probes saw, beside what Triton wrote meanwhile."""
    seen = [(at, f"readiness: {status or 'nobody answers'}") for at, status in pod.readiness]
    seen += [(at, f"startup probe: {told or 'every golden is answered'}") for at, told in said]
    for line in pod.log("triton").splitlines():
        if STAMP.match(line) and re.search("loading: |is running warmup|Started HTTP", line):
            seen.append((_time(line), f"triton: {line.partition('] ')[2]}"))
    begin = pod.readiness[0][0]
    return "\n".join(f"{at - begin:6.2f} s  {what}" for at, what in sorted(seen))


def _time(line):
    stamp = f"{datetime.now(UTC).year} {STAMP.match(line)[1]} +0000"
    return datetime.strptime(stamp, "%Y %m%d %H:%M:%S.%f %z").timestamp()


def _answers_goldens(pod, project):
    server = Endpoint(f"{pod.address}:8000")
    for name in ("linear", "echo"):
        folder = project / "repository" / "cpu" / name
        question = probes.read(1000000, lambda file, f=folder: (f / file).read_bytes(), name)
        assert server.differs(question) is None


def _is_hardened(pod):
    status = pod.run("triton", "cat", "/proc/1/status").stdout
    assert re.search(r"^Uid:\s+1000\s+1000", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE)
    for place in ("/opt/tritonserver", "/models/repository", "/opt/triton-builder", "/etc"):
        assert "Read-only" in pod.run("triton", "touch", f"{place}/new").stderr
    assert "AWS" not in pod.run("triton", "env").stdout
    assert pod.run("triton", "ls", "/var/run/secrets/kubernetes.io").returncode


def _a_dead_model_is_noticed(pod):
    """By the liveness probe; the ready endpoint goes on saying yes."""
    assert pod.probe("livenessProbe").returncode == 0
    kill = (
        "for p in /proc/[0-9]*; do if grep -qz [p]ython_backend_stub $p/cmdline && "
        "grep -qz [/]models/repository/echo $p/cmdline; then kill -9 ${p#/proc/}; fi; done"
    )
    pod.run("triton", "sh", "-c", kill)
    for _ in range(20):
        done = pod.probe("livenessProbe")
        if done.returncode:
            break
        time.sleep(0.5)
    assert "echo 1000000" in done.stdout
    assert "linear" not in done.stdout
    assert [status for _, status in pod.readiness] == [None, 200, None, 200]


def test_a_release_that_the_key_did_not_sign_starts_no_server(play, keys):
    play.publish(f"--sign-key={keys[0][0]}")
    with play({"verify-key": str(keys[1][1])}, "refused") as pod:
        assert pod.played.returncode
        assert "it is signed with another key" in pod.log("pull")
        assert [status for _, status in pod.readiness] == [None]
        assert not pod.log("triton")


def test_an_agent_brings_a_running_pod_forth_and_back_and_it_stays_in_service(
    play, builder, identity
):
    """Every release by an identity; the pod reaches no Sigstore to know it."""
    run, project, _ = builder

    def publish():
        signing = ("--keyless", f"--trust-config={identity.trust}")
        play.publish(*signing, SIGSTORE_ID_TOKEN=identity.token())

    publish()
    trust = {
        "verify-identity": sigstore.IDENTITY,
        "verify-issuer": identity.issuer,
        "trust-config": str(identity.trust),
    }
    control = {"agent": True, "control-secret": "control"}
    with play(trust, "agent", HASTE, channel="prod", **control) as pod:
        assert pod.played.returncode == 0, pod.played.stderr + pod.log("pull")
        pod.await_start()
        _until(lambda: _ok(pod, "/readyz", 8080), pod)
        with _clients(pod, project) as failures:
            spec = project / "models" / "echo" / "model.yaml"
            spec.write_text(spec.read_text().replace("versions:\n", 'versions:\n  "1.1": {}\n'))
            run("build")
            publish()
            _until(lambda: _ok(pod, "/v2/models/echo/versions/1001000/ready"), pod)
            _until(lambda: _ok(pod, "/readyz", 8080), pod)
            assert pod.probe("livenessProbe").returncode == 0
            assert pod.probe("startupProbe").returncode == 0
            play.rollback()
            _until(lambda: not _ok(pod, "/v2/models/echo/versions/1001000/ready"), pod)
            _until(lambda: _ok(pod, "/readyz", 8080), pod)
            assert pod.probe("livenessProbe").returncode == 0
        assert not failures
        with pytest.raises(RefusedError, match="restricted"):  # what the agent alone may
            Endpoint(f"{pod.address}:8000").call("POST", "/v2/repository/models/echo/unload")
        assert _ok(pod, "/healthz", 8080)
        assert [status for _, status in pod.readiness] == [None, 200]


@contextlib.contextmanager
def _clients(pod, project):
    """Asks for goldens all the while; gives what went wrong."""
    server, over = Endpoint(f"{pod.address}:8000"), threading.Event()
    folder = project / "repository" / "cpu" / "echo"
    question = probes.read(1000000, lambda file: (folder / file).read_bytes(), "echo")
    failures = []

    def ask():
        while not over.is_set():
            try:
                wrong = server.differs(question)
            except (UnreachableError, RefusedError) as e:
                wrong = str(e)
            if wrong:
                failures.append(wrong)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _ok(pod, path, port=8000):
    try:
        Endpoint(f"{pod.address}:{port}").call("GET", path, timeout=5)
    except (UnreachableError, RefusedError):
        return False
    return True


def _until(ask, pod, seconds=60):
    deadline = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < deadline, pod.log("agent")
        time.sleep(0.2)
