"""An agent brings a real Triton from release to release, and keeps what is good served."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading

import pytest

from builder.agent.tree import release_of
from builder.agent.triton import Triton
from builder.errors import InputError, MissingError, WorkFailedError
from builder.release.layout import blob
from builder.release.store import ReleaseStore
from builder.remote.limits import Limits
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.endpoint import CONTROL, CONTROL_KEY, RefusedError
from tests.agent.conftest import Pod, running
from tests.agent.sidecar import wait
from tests.agent.zoo import Model

pytestmark = pytest.mark.live

ONE = {"m": Model({1: 1}, warmup=(1, 4)), "e": Model({1: 1}, steps=(("m", 1),))}
TWO = {"m": Model({2: 2}, warmup=(1, 4)), "e": Model({2: 2}, steps=(("m", 2),))}
BAD = {"m": Model({2: 2}, claims=3)}


@pytest.fixture
def at_one(pod):
    """The pod at a first release, and its agent."""
    pod.store.promote(pod.store.publish(ONE))
    agent = pod.agent()
    agent.once()
    return agent


def promote(pod, models) -> str:
    release = pod.store.publish(models)
    pod.store.promote(release)
    return release


def test_an_empty_folder_is_filled_and_an_empty_server_loaded(pod):
    release = promote(pod, ONE)
    agent = pod.agent()
    agent.once()
    assert pod.answer("m") == (1, 1)
    assert pod.answer("e") == (1, 1)
    assert agent.ready() == (True, release)


def test_a_move_takes_the_server_along_and_a_move_back_too(pod, at_one):
    promote(pod, TWO)
    at_one.once()
    assert pod.answer("m") == (2, 2)
    assert pod.answer("e") == (2, 2)
    pod.store.rollback()
    at_one.once()
    assert pod.answer("m") == (1, 1)
    assert pod.answer("e") == (1, 1)


def test_what_was_good_before_is_not_rehearsed_again(pod, at_one):
    promote(pod, TWO)
    at_one.once()
    rehearsed = len([e for e in pod.heard.events if "rehearsing" in e["text"]])
    assert rehearsed
    pod.store.rollback()
    at_one.once()
    assert len([e for e in pod.heard.events if "rehearsing" in e["text"]]) == rehearsed


def test_a_model_that_is_as_it_was_is_not_loaded_again(pod, at_one):
    promote(pod, {**ONE, "other": Model()})
    at_one.once()
    assert pod.answer("other") == (1, 1)
    assert pod.loads().count("m:1") == 1


def test_a_version_that_is_as_it_was_is_not_loaded_again(pod, at_one):
    promote(pod, {**ONE, "m": Model({1: 1, 2: 2}, warmup=(1, 4))})
    at_one.once()
    assert pod.answer("m") == (2, 2)
    initialised = [
        line for line in pod.server.log().splitlines() if "TRITONBACKEND_ModelInit" in line
    ]
    assert pod.loads().count("m:2") == 1, initialised


def test_another_config_for_the_same_version_is_served(pod, at_one):
    promote(pod, {**ONE, "m": Model({1: 1}, warmup=(1, 4), config="dynamic_batching { }\n")})
    at_one.once()
    body, _ = pod.triton.endpoint.call("GET", "/v2/models/m/config")
    assert b"dynamic_batching" in body


def test_what_is_gone_is_unloaded(pod, at_one):
    promote(pod, {"m": ONE["m"]})
    at_one.once()
    assert "READY" not in pod.triton.index().get("e", {}).values()
    assert pod.answer("m") == (1, 1)


def test_nothing_is_done_where_the_channel_has_not_moved(pod, at_one):
    before = pod.loads()
    at_one.once()
    at_one.once()
    assert pod.loads() == before


def test_an_agent_that_starts_anew_knows_what_is_served(pod, at_one):
    before = pod.loads()
    again = pod.agent()
    again.once()
    assert pod.loads() == before
    assert again.ready()[0]


def test_what_was_pulled_before_is_taken_over(installation, folder, store):
    from tests.agent.conftest import Pod

    release = store.publish(ONE)
    store.promote(release)
    command = [sys.executable, "-m", "builder", "pull", "prod", str(folder)]
    subprocess.run([*command, "--store", store.url], check=True, capture_output=True)
    with running(installation, folder, preload=True) as server:
        pod = Pod(folder, store, server)
        agent = pod.agent()
        agent.once()
        assert agent.ready() == (True, release)
        assert pod.server.log().count("INIT m 1") == 1
        other = Model({3: 1}, steps=(("m", 1),), config="parameters { key: 'k' }\n")
        promote(pod, {"m": ONE["m"], "e": other})
        agent.once()
        assert pod.answer("e") == (3, 1)
        assert pod.server.log().count("INIT m 1") == 1  # though it was looked at, as a member
        promote(pod, TWO)
        agent.once()
        assert pod.answer("e") == (2, 2)


def test_a_refused_release_is_not_tried_again_until_the_channel_moves(pod, at_one):
    bad = promote(pod, BAD)
    for _ in range(3):
        with pytest.raises(WorkFailedError, match="was refused"):
            at_one.once()
    assert len(pod.heard.of("refused")) == 1
    with pytest.raises(WorkFailedError, match="was refused"):
        pod.agent().once()  # nor by another agent
    pod.store.rollback()
    at_one.once()
    pod.store.promote(bad)
    with pytest.raises(WorkFailedError, match="was refused"):
        at_one.once()
    assert len(pod.heard.of("refused")) == 2
    assert pod.answer("e") == (1, 1)


@pytest.mark.parametrize(
    "bad",
    [
        {"m": Model({2: 2}, claims=3), "e": Model({2: 2}, steps=(("m", 2),))},
        {"m": Model({2: 2}), "e": Model({2: 2}, claims=3, steps=(("m", 2),))},
        {"m": Model({2: 2}, start="raise ValueError('no')"), "e": TWO["e"]},
        {**ONE, "new": Model(start="raise ValueError('no')")},
        {"m": Model({1: 1}, config="dynamic_batching { }\n", claims=3), "e": ONE["e"]},
    ],
    ids=["member", "ensemble", "load", "new model", "same version"],
)
def test_without_a_rehearsal_a_bad_release_is_left_again(pod, at_one, bad):
    agent = pod.agent(rehearse=False)
    promote(pod, bad)
    with pytest.raises(WorkFailedError, match="was refused"):
        agent.once()
    assert agent.ready()[0]
    assert pod.answer("m") == (1, 1)
    assert pod.answer("e") == (1, 1)
    ready = {n for n, v in pod.triton.index().items() if "READY" in v.values()}
    assert ready == {"m", "e"}
    assert [p.name for p in pod.home.work.iterdir()] == ["state.json"]


def test_a_probe_alone_is_a_release_too(pod, at_one):
    before = pod.loads()
    wrong = {**ONE, "m": Model({1: 1}, warmup=(1, 4), claims=4)}
    promote(pod, wrong)
    with pytest.raises(WorkFailedError, match="was refused"):
        at_one.once()
    assert pod.loads() == before
    assert pod.answer("m") == (1, 1)


def test_a_file_that_the_store_has_otherwise_refuses_its_release(pod, at_one):
    release = pod.store.publish(TWO)
    manifest = (
        pod.store.folder / "store/manifests" / f"{release.replace(':', '-')}.json"
    ).read_text()
    digest = manifest.split('"model.py": {')[1].split('"sha256": "')[1][:64]
    (pod.store.folder / "store" / blob(digest)).write_bytes(b"x" * 500)
    pod.store.promote(release)
    with pytest.raises(WorkFailedError, match="was refused"):
        at_one.once()
    assert pod.heard.of("refused")[0]["reason"] == "pull"
    assert pod.answer("m") == (1, 1)


def test_a_store_that_is_away_changes_nothing(pod, at_one, monkeypatch):
    there = at_one._source._asked
    for name, value in {"ENDPOINT": "http://127.0.0.1:1", "ACCESS_KEY_ID": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    at_one._source._asked = ReleaseStore("s3://bucket/releases", limits=Limits(1, 2, retries=1))
    at_one.step()
    assert at_one.ready()[0]
    assert pod.heard.of("failed")[0]["reason"] == "store"
    assert "triton_builder_agent_store_up 0" in pod.metrics.render()
    at_one._source._asked = there
    promote(pod, TWO)
    at_one.once()
    assert pod.answer("m") == (2, 2)
    assert "triton_builder_agent_store_up 1" in pod.metrics.render()


def test_two_agents_do_not_follow_into_one_folder(pod):
    with pod.home.lock(), pytest.raises(InputError, match="another agent"), pod.home.lock():
        pass


def test_a_server_that_lost_its_models_gets_them_again(pod, at_one):
    pod.triton.unload("e")
    pod.triton.unload("m")
    at_one.once()
    assert pod.answer("e") == (1, 1)


def test_a_dead_stub_is_found_out_and_the_model_loaded_again(pod):
    import psutil

    promote(pod, ONE)
    agent = pod.agent(proving=0.001)
    agent.once()
    (stub,) = [
        p
        for p in psutil.Process(pod.server.guard.process.pid).children(recursive=True)
        if "python_backend_stub" in p.name()
    ]
    stub.kill()
    for _ in range(3):
        agent.step()
    agent.once()
    assert pod.answer("m") == (1, 1)


def test_a_server_of_another_mode_is_told_apart(installation, folder, store):
    from builder.servers.launch import Launch

    with EmbeddedServer(installation, [folder], Launch(explicit=False)) as server:
        with pytest.raises(MissingError, match="explicit mode"):
            Triton(server.http, server.grpc).check()
        with pytest.raises(MissingError, match="explicit mode"):
            Triton(server.http, None).check()


class Guarded(EmbeddedServer):
    """A server that asks for a key of whoever loads models."""

    def _command(self, backends, label):
        kept = f"model-repository,logging,trace:{CONTROL}=opensesame"
        own = [f"--http-restricted-api={kept}", f"--grpc-restricted-protocol={kept}"]
        return [*super()._command(backends, label), *own]


@pytest.mark.parametrize("over_http", [False, True])
def test_a_server_that_asks_for_a_key_is_followed_with_it_alone(
    installation, folder, store, over_http
):
    with Guarded(installation, [folder]) as server:
        pod = Pod(folder, store, server, "opensesame")
        promote(pod, ONE)
        agent = pod.agent()
        if over_http:
            agent._triton._grpc = None
        agent.once()
        promote(pod, TWO)
        agent.once()
        assert pod.answer("e") == (2, 2)
        for key in (None, "wrong"):
            stranger = Triton(server.http, None if over_http else server.grpc, key)
            with pytest.raises(MissingError, match="asks for a key") as refused:
                stranger.check()
            assert CONTROL_KEY in refused.value.fix
            with pytest.raises(RefusedError, match="restricted"):
                stranger.unload("e")
            with pytest.raises(MissingError, match="asks for a key"):
                stranger.index()
        assert pod.answer("e") == (2, 2)
        with pytest.raises(MissingError, match="asks for a key"):
            Pod(folder, store, server).agent().once()


def test_a_wrong_grpc_address_is_told_apart(pod):
    with pytest.raises(MissingError, match="gRPC port does not answer"):
        Triton(pod.server.http, "127.0.0.1:1").check()


def test_models_can_be_loaded_over_http_too(pod, store):
    promote(pod, ONE)
    agent = pod.agent()
    agent._triton._grpc = None
    agent.once()
    promote(pod, TWO)
    agent.once()
    assert pod.answer("e") == (2, 2)


def test_a_spoilt_state_is_found_out_again(pod, at_one):
    (pod.home.work / "state.json").write_text("{")
    agent = pod.agent()
    agent.once()
    assert agent.ready()[0]


def test_a_folder_that_is_no_release_any_more_is_not_touched(pod, at_one):
    (pod.folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="not written by triton-builder"):
        pod.agent().once()
    assert (pod.folder / "m" / "config.pbtxt").is_file()
    assert pod.answer("m") == (1, 1)


def test_a_load_that_ends_late_is_undone(pod, at_one):
    """Without a rehearsal: nothing can call off a load that hangs, and it may end after all."""
    agent = pod.agent(rehearse=False, load_within=2)
    promote(pod, {**ONE, "m": Model({2: 2}, start="time.sleep(5)")})
    with pytest.raises(WorkFailedError, match="was refused"):
        agent.once()
    assert pod.heard.of("refused")[0]["reason"] == "hang"
    assert pod.answer("m") == (1, 1)
    pod.store.rollback()
    wait(lambda: pod.triton.index()["m"].get(2) == "READY")
    wait(lambda: [agent.step(), set(pod.triton.index()["m"].items()) >= {(1, "READY")}][1])
    agent.once()
    assert pod.answer("m") == (1, 1)
    assert pod.answer("e") == (1, 1)


def test_what_an_agent_rehearsed_that_was_killed_is_unloaded(pod, at_one):
    shutil.copytree(pod.folder / "m", pod.folder / "m.rehearsal-x")
    config = pod.folder / "m.rehearsal-x" / "config.pbtxt"
    text = config.read_text().replace('name: "m"', 'name: "m.rehearsal-x"')
    config.unlink()
    config.write_text(text)
    pod.triton.load("m.rehearsal-x", 30)
    agent = pod.agent()
    agent.once()
    assert not (pod.folder / "m.rehearsal-x").exists()
    wait(lambda: "READY" not in pod.triton.index().get("m.rehearsal-x", {}).values())


def test_what_nobody_signed_is_refused_where_a_key_is_asked_for(pod, at_one, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from builder.release.trust import Trust

    key = tmp_path / "key.pem"
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    key.write_bytes(public.public_bytes(serialization.Encoding.PEM, form))
    promote(pod, TWO)
    with pytest.raises(WorkFailedError, match="was refused"):
        pod.agent(check=Trust(key, None, None).check).once()
    assert "not signed" in str(pod.heard.of("refused")[0]["text"])
    assert pod.answer("m") == (1, 1)


def test_a_pod_may_serve_some_models_only(pod):
    release = promote(pod, {**ONE, "other": Model()})
    agent = pod.agent(models=["e"])
    agent.once()
    assert agent.ready() == (True, release)
    assert sorted(p.name for p in pod.folder.iterdir()) == ["e", "m", "manifest.json"]
    promote(pod, {**TWO, "other": Model({2: 2})})
    agent.once()
    assert pod.answer("e") == (2, 2)
    assert "other" not in {name.partition(":")[0] for name in pod.loads()}


@pytest.mark.parametrize("claims", [2, 3], ids=["good", "bad"])
def test_where_the_server_stays_away_the_channel_is_followed_all_the_same(
    installation, folder, store, monkeypatch, claims
):
    from builder.agent import follow
    from tests.agent.conftest import Pod

    monkeypatch.setattr(follow, "GIVEN_UP", 0.0)
    with running(installation, folder) as server:
        pod = Pod(folder, store, server)
        first = promote(pod, ONE)
        agent = pod.agent()
        agent.once()
    second = promote(pod, {**TWO, "m": Model({2: 2}, claims=claims)})
    agent.step()
    agent.step()
    assert release_of(folder) == second
    assert not agent.ready()[0]
    with running(installation, folder, preload=True) as server:
        pod.server = server
        agent._triton.endpoint = pod.triton.endpoint
        agent._triton._grpc = server.grpc
        wait(lambda: [agent.step(), agent.ready()[0]][1])
        assert agent.ready()[1] == (second if claims == 2 else first)
        assert pod.answer("e") == ((2, 2) if claims == 2 else (1, 1))


def test_a_bug_does_not_end_the_loop(pod, at_one):
    agent = pod.agent(interval=0.01)
    agent._source.position = lambda: {}["bug"]
    thread = threading.Thread(target=agent.run)
    thread.start()
    wait(lambda: len(pod.heard.of("bug")) > 1)
    agent.stop.set()
    thread.join()
    assert "KeyError" in str(pod.heard.of("bug")[0]["text"])
