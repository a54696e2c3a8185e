"""The agent as a process beside a Triton that dies and comes back, and killed itself."""

from __future__ import annotations

import json
import random
import time

import pytest

from builder.agent.triton import Triton
from builder.servers.endpoint import Endpoint, RefusedError, UnreachableError
from tests.agent.load import load
from tests.agent.sidecar import Kubelet, Sidecar, wait
from tests.agent.test_load_live import ONE, TWO
from tests.agent.zoo import Model

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(params=[True, False], ids=["with its models", "empty"])
def kubelet(request, installation, folder):
    with Kubelet(installation, folder, preload=request.param) as running:
        yield running


@pytest.fixture
def steady(installation, folder):
    with Kubelet(installation, folder) as running:
        yield running


def answers(server, model="e"):
    """Version and factor, however long the server takes to come back."""
    body = b'{"inputs":[{"name":"x","datatype":"INT32","shape":[1,2],"data":[7,7]}]}'

    def once():
        try:
            content, _ = Endpoint(server.http).call("POST", f"/v2/models/{model}/infer", body)
        except (UnreachableError, RefusedError):
            return None
        said = json.loads(content)
        return int(said["model_version"]), said["outputs"][0]["data"][0] // 7

    return wait(once)


def promoted(store, models):
    release = store.publish(models)
    store.promote(release)
    return release


def test_it_tells_how_it_is(steady, folder, store):
    first = promoted(store, ONE)
    with Sidecar(steady, folder, store) as sidecar:
        sidecar.wait("serving", release=first)
        assert sidecar.get("/healthz") == (200, "ok\n")
        wait(lambda: sidecar.get("/readyz") == (200, f"{first}\n"))
        assert sidecar.get("/nowhere")[0] == 404
        metrics = wait(lambda: (m := sidecar.metrics()).get('state{state="serving"}') and m)
        assert metrics[f'info{{channel="prod",release="{first}"}}'] == 1
        assert metrics["behind"] == metrics["refused"] == metrics["moves_total"] == 0
        assert metrics["server_up"] == metrics["store_up"] == 1
        assert abs(metrics["last_success_timestamp_seconds"] - time.time()) < 60
        second = promoted(store, TWO)
        sidecar.wait("serving", release=second)
        metrics = wait(lambda: (m := sidecar.metrics())["moves_total"] and m)
        assert [n for n in metrics if n.startswith("info")] == [
            f'info{{channel="prod",release="{second}"}}'
        ]
        assert metrics['seconds_count{part="rehearsing"}'] == 1
        bad = promoted(store, {**TWO, "m": Model({2: 2}, claims=5)})
        sidecar.wait("refused", release=bad, reason="probe")
        metrics = wait(lambda: (m := sidecar.metrics())["refused"] and m)
        assert metrics["behind"] == 1
        assert metrics['failures_total{reason="probe"}'] == 1
        assert sidecar.get("/readyz") == (200, f"{second}\n")
        assert sidecar.stop() == 0


def test_a_server_that_dies_and_comes_back_serves_the_good_release(kubelet, folder, store):
    release = promoted(store, ONE)
    with Sidecar(kubelet, folder, store) as sidecar:
        sidecar.wait("serving", release=release)
        starts = kubelet.starts
        kubelet.crash()
        wait(lambda: sidecar.get("/readyz")[0] == 503)
        wait(lambda: kubelet.starts > starts)
        wait(lambda: sidecar.get("/readyz")[0] == 200)
        assert answers(kubelet) == (1, 1)


@pytest.mark.parametrize("moment", [0.0, 0.3, 0.6, 0.9, 1.2, 1.5])
def test_a_server_that_dies_during_a_move_serves_one_of_both(kubelet, folder, store, moment):
    first = promoted(store, ONE)
    with Sidecar(kubelet, folder, store) as sidecar:
        sidecar.wait("serving", release=first)
        second = promoted(store, TWO)
        sidecar.wait("moving", release=second)
        time.sleep(moment)
        kubelet.crash()
        wait(lambda: [e for e in sidecar.events if e.get("release") == second
                      and e["event"] in {"refused", "serving"}])  # fmt: skip
        refused = [e for e in sidecar.events if e["event"] == "refused"]
        wanted = (1, 1) if refused else (2, 2)
        wait(lambda: sidecar.get("/readyz")[0] == 200)
        assert answers(kubelet) == wanted
        assert sidecar.get("/readyz")[1].strip() == (first if refused else second)


def test_a_release_that_takes_the_server_down_is_left_before_it_is_back(steady, folder, store):
    """The model kills the server's own process, as a native backend might."""
    first = promoted(store, ONE)
    with Sidecar(steady, folder, store) as sidecar:
        sidecar.wait("serving", release=first)
        bad = promoted(store, {**TWO, "m": Model({2: 2}, start=KILL)})
        assert sidecar.wait("refused", release=bad)["reason"] == "died"
        wait(lambda: steady.starts == 2)
        wait(lambda: sidecar.get("/readyz")[0] == 200)
        assert answers(steady) == (1, 1)
        assert not list(folder.glob("*.rehearsal-*"))


KILL = """
        with open(f"/proc/{os.getppid()}/status") as file:
            parent = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
        os.kill(parent, signal.SIGKILL)
"""


def kill_and_restart(kubelet, folder, store, tmp_path, times, seed):
    """An agent that is killed again and again while a channel goes back and forth."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    releases = [store.publish(ONE), store.publish(TWO)]
    store.promote(releases[0])
    with Sidecar(kubelet, folder, store) as sidecar:
        sidecar.wait("serving", release=releases[0])
    with load(kubelet, tmp_path / "answers", "m", "e", "same") as found:
        for turn in range(1, times + 1):
            store.promote(releases[turn % 2])
            with Sidecar(kubelet, folder, store):
                time.sleep(chance.uniform(0.3, 2.5))
        with Sidecar(kubelet, folder, store) as sidecar:
            sidecar.wait("serving", release=releases[times % 2])
            wait(lambda: sidecar.get("/readyz") == (200, releases[times % 2] + "\n"))
            done = time.time()
            time.sleep(1)
            assert answers(kubelet) == (times % 2 + 1,) * 2
    assert kubelet.starts == 1
    assert not found.errors, (found.errors[:5], len(found.errors))
    assert found.pairs("same") == {(1, 1)}
    for model in ("m", "e"):
        assert found.pairs(model) <= {(1, 1), (2, 2)}
        assert found.after(done).pairs(model) == {(times % 2 + 1,) * 2}
    names = {path.name for path in folder.with_name(f".{folder.name}.agent").iterdir()}
    assert names <= {"lock", "state.json"}


def test_an_agent_that_is_killed_during_moves_converges(steady, folder, store, tmp_path):
    kill_and_restart(steady, folder, store, tmp_path, 6, seed=1)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
def test_an_agent_that_is_killed_ten_times_over_converges(steady, folder, store, tmp_path, seed):
    kill_and_restart(steady, folder, store, tmp_path, 10, seed)


def chaos(kubelet, folder, store, turns, seed):
    """Channels that move, agents and servers that die, at random; and in the end, peace."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    good = [store.publish(ONE), store.publish(TWO)]
    bad = [
        store.publish({**TWO, "x": Model(claims=3)}),
        store.publish({**TWO, "x": Model({2: 1}, start="1 / 0")}),
    ]
    store.promote(good[0])
    sidecar = Sidecar(kubelet, folder, store)
    try:
        for _ in range(turns):
            deed = chance.choice(["good", "good", "bad", "agent", "agent", "server"])
            if deed == "agent":
                sidecar.kill()
                sidecar = Sidecar(kubelet, folder, store)
            elif deed == "server":
                kubelet.crash()
            else:
                store.promote(chance.choice(good if deed == "good" else bad))
            time.sleep(chance.uniform(0, 3))
        wanted = chance.choice(good)
        store.promote(bad[0])
        store.promote(wanted)
        number = good.index(wanted) + 1

        def peace() -> bool:
            ready = sidecar.get("/readyz") == (200, f"{wanted}\n")
            return ready and answers(kubelet) == answers(kubelet, "m") == (number, number)

        wait(lambda: sidecar.metrics().get("behind") == 0 and peace())
        time.sleep(3)  # a move that was under way is over
        wait(lambda: sidecar.metrics().get('state{state="serving"}') == 1)
        assert peace()
        assert answers(kubelet, "same") == (1, 1)
        ready = {name for name, versions in Triton(kubelet.http, None).index().items()
                 if "READY" in versions.values()}  # fmt: skip
        assert ready == {"m", "e", "same"}
        assert sidecar.stop() == 0
    finally:
        sidecar.kill()


def test_after_chaos_there_is_peace(kubelet, folder, store):
    chaos(kubelet, folder, store, 8, seed=3)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(6))
def test_after_much_chaos_there_is_peace(kubelet, folder, store, seed):
    chaos(kubelet, folder, store, 30, seed)
