"""`validate` on a whole repository: verdicts, order, refusals, and a server that dies."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest

from builder.errors import WorkFailedError
from builder.servers.server import Control
from builder.validation import live
from builder.validation.checks import data
from builder.validation.live import CHECKS, validate
from builder.validation.probes import probes
from builder.validation.verdict import LEAKS
from tests.validation.zoo import ALL, QUEUE, Zoo, warmup

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def verdicts(server, zoo):
    """Verdicts by name and version of a sound model, an ensemble of it and an ill one."""
    member = zoo.add(
        "member",
        config=QUEUE + ALL + warmup(1, 8),
        versions=(1, 2),
        warmup=(1, 8),
        timeout_us=5_000_000,
    )
    ensemble = zoo.add_ensemble("ensemble", "member")
    ill = zoo.add("never", start='raise RuntimeError("no weights here")')
    said: list[str] = []
    found = validate(server, [ensemble, member, ill], say=said.append)
    return {(v.model, v.version): v for v in found}, said


def test_every_version_gets_a_verdict_in_the_order_given(verdicts):
    found, said = verdicts
    assert list(found) == [
        ("ensemble", "1.0"),
        ("member", "1.0"),
        ("member", "2.0"),
        ("never", "1.0"),
    ]
    assert said[0].startswith("member: loaded in")
    assert any(line.startswith("member 2.0: passed") for line in said)


def test_a_sound_version_passes_every_check(verdicts):
    verdict = verdicts[0]["member", "1.0"]
    assert verdict.passed, verdict.failures
    assert {f.check for f in verdict.findings} == {
        "ready",
        "first request",
        "data",
        *CHECKS,
    } - {"accuracy"}
    assert verdict.server.startswith("tritonserver 2.51.0")
    assert verdict.latency["p99_ms"] >= verdict.latency["p50_ms"] > 0
    assert all(f.seconds >= 0 for f in verdict.findings)


def test_an_ensemble_is_loaded_after_its_member_and_passes(verdicts):
    verdict = verdicts[0]["ensemble", "1.0"]
    assert verdict.passed, verdict.failures
    assert "concurrency" in {f.check for f in verdict.findings}
    assert "queue" not in {f.check for f in verdict.findings}


def test_a_model_that_does_not_load_fails_and_is_asked_nothing_else(verdicts):
    verdict = verdicts[0]["never", "1.0"]
    assert [f.check for f in verdict.failures] == ["ready"]
    assert {f.check for f in verdict.findings} == {"ready", "data"}
    assert "no weights here" in verdict.failures[0].found
    assert verdict.latency == {}


def test_a_failing_warmup_keeps_the_model_from_loading_and_names_the_sample(installation, tmp_path):
    """On a server of its own: 24.10 dies of some failed warm-ups, which must be told as well."""
    from builder.servers.embedded.server import EmbeddedServer
    from builder.servers.launch import Launch

    zoo = Zoo(tmp_path / "models")
    fault = 'if rows == 4: return pb_utils.TritonError("index 30522 is out of bounds")'
    ill = zoo.add("ill", fault=fault, config=warmup(1, 4), warmup=(1, 4))
    folder = probes(tmp_path / "probes")
    with EmbeddedServer(installation, [zoo.root, folder], Launch(verbose=1)) as running:
        try:
            (verdict,) = validate(running, [ill], say=lambda _: None)
        except WorkFailedError as error:
            told = f"{error.where}: {error.problem}"
        else:
            told = f"ill, check {verdict.failures[0].check}: {verdict.failures[0].reason}"
    assert told.startswith("ill, check ready: warm-up sample 'batch 4' failed")


def test_a_refusal_that_no_check_expects_is_a_finding(server, zoo):
    fault = 'return pb_utils.TritonError("out of luck")'
    (verdict,) = validate(server, [zoo.add("luckless", fault=fault)], say=lambda _: None)
    goldens = next(f for f in verdict.failures if f.check == "goldens")
    assert goldens.reason == "the server refused a right request"
    assert "out of luck" in goldens.found


def test_what_is_loaded_already_is_asked_all_but_what_only_a_load_shows(server, sound, monkeypatch):
    monkeypatch.setattr(server, "control", Control(served=frozenset({sound.subject.name})))
    found = validate(server, [sound.subject], say=lambda _: None)
    assert all(v.passed for v in found), [v.failures for v in found]
    assert "ready" not in {f.check for v in found for f in v.findings}


def test_a_server_that_dies_is_an_error_that_says_during_which_check(installation, tmp_path):
    from builder.servers.embedded.server import EmbeddedServer
    from builder.servers.launch import Launch

    zoo = Zoo(tmp_path / "models")
    fatal = zoo.add("fatal", fault="if self.calls > 10: os.kill(os.getppid(), 9)")
    folder = probes(tmp_path / "probes")
    with (
        EmbeddedServer(installation, [zoo.root, folder], Launch(verbose=1)) as running,
        pytest.raises(WorkFailedError) as caught,
    ):
        validate(running, [fatal], say=lambda _: None)
    assert caught.value.problem == "the server died during validation"
    assert caught.value.where.startswith("fatal 1.0, check ")
    assert "SIGKILL" in caught.value.found
    assert " I1" not in f" {caught.value.detail}"
    assert "infer_" not in caught.value.detail


def test_a_server_that_dies_while_latency_is_measured_is_told(installation, tmp_path, monkeypatch):
    from builder.servers.embedded.server import EmbeddedServer
    from builder.servers.launch import Launch

    zoo = Zoo(tmp_path / "models")
    fine = zoo.add("fine")
    folder = probes(tmp_path / "probes")
    monkeypatch.setattr(live, "CHECKS", {"version": CHECKS["version"]})
    measured = live.latency.figures
    with EmbeddedServer(installation, [zoo.root, folder], Launch(verbose=1)) as running:

        def fatal(case):
            below = psutil.Process(running.guard.process.pid).children(recursive=True)
            next(p for p in below if p.name() == "tritonserver").kill()
            return measured(case)

        monkeypatch.setattr(live.latency, "figures", fatal)
        with pytest.raises(WorkFailedError, match="died during validation") as caught:
            validate(running, [fine], say=lambda _: None)
    assert caught.value.where == "fine 1.0, check latency"
    assert "SIGKILL" in caught.value.found


def test_what_takes_long_is_told(server, zoo, monkeypatch):
    monkeypatch.setattr(live, "SLOW_LOAD", 0.2)
    monkeypatch.setattr(live, "SLOW_CHECK", 0.0)
    monkeypatch.setattr(live, "CHECKS", {"version": CHECKS["version"]})
    said: list[str] = []
    validate(server, [zoo.add("slow", start="time.sleep(1)")], say=said.append)
    assert said.index("slow: still loading after 0 s") < said.index("slow 1.0: version took 0 s")


def test_the_probe_is_unloaded_again(server, client):
    assert data.data(client).passed


def test_what_a_load_has_added_is_said_of_each_version(server, zoo, monkeypatch):
    monkeypatch.setattr(live, "CHECKS", {"version": CHECKS["version"]})
    start = "self.kept.append(np.ones(150_000_000, np.uint8))"
    large = zoo.add("large", start=start, config=ALL, versions=(1, 2))
    small = zoo.add("small")
    found = validate(server, [large, small], say=lambda _: None)
    one, two, other = (verdict.memory["host_mb"] for verdict in found)
    assert one == two
    assert 300 < one < 600
    assert 0 < other < 150
    assert "gpu_mb" not in found[0].memory
    assert {10 < verdict.memory["server_mb"] < 300 for verdict in found} == {True}


def test_leaks_are_looked_for_where_it_is_asked_and_ensembles_are_their_members(
    server, zoo, monkeypatch
):
    monkeypatch.setattr(live, "CHECKS", {"version": CHECKS["version"]})
    part = zoo.add("part")
    whole = zoo.add_ensemble("whole", "part")
    said: list[str] = []
    found = {v.model: v for v in validate(server, [whole, part], say=said.append, again=True)}
    assert all(v.passed for v in found.values())
    checks = {model: [f.check for f in v.findings] for model, v in found.items()}
    assert checks["part"][-1] == LEAKS
    assert LEAKS not in checks["whole"]
    assert found["part"].without(LEAKS).findings == found["part"].findings[:-1]
    assert any("over 2 loads" in line for line in said)


def refused(server, zoo, name, old, new):
    """The one failure of a model whose config asks for what the server has not."""
    described = zoo.add(name)
    text = described.config.replace(old, new)
    (zoo.root / name / "config.pbtxt").write_text(text)
    (verdict,) = validate(server, [replace(described, config=text)], say=lambda _: None)
    (failure,) = verdict.failures
    assert failure.check == "ready"
    return failure


def test_a_gpu_that_the_server_has_not_is_told_with_what_to_do(server, zoo):
    failure = refused(server, zoo, "for_gpus", "KIND_CPU", "KIND_GPU")
    assert "is to run on a GPU, and the server has none" in failure.reason
    assert failure.found.startswith("KIND_GPU, and no GPUs are available")
    assert "device = 'gpu'" in failure.fix
    failure = refused(server, zoo, "for_gpu_0", "KIND_CPU", "KIND_GPU gpus: 0")
    assert failure.found.startswith("GPU 0, of those that the server can use: ?")


def test_a_plan_for_a_server_without_tensorrt_is_told_with_what_to_do(server, zoo):
    failure = refused(server, zoo, "a_plan", 'backend: "python"', 'backend: "tensorrt"')
    assert "has not the model's backend" in failure.reason
    assert failure.found.startswith("no backend `tensorrt`")
    assert "NVIDIA's -py3 has TensorRT" in failure.fix
