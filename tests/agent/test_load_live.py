"""Releases come and go under constant load: no request is lost, and none is answered wrongly."""

from __future__ import annotations

import time
from itertools import cycle

import pytest

from tests.agent.load import load
from tests.agent.zoo import Model

pytestmark = pytest.mark.live

ONE = {
    "m": Model({1: 1}, warmup=(1, 4)),
    "e": Model({1: 1}, steps=(("m", 1), ("same", 1))),
    "same": Model({1: 1}),
}
TWO = {
    "m": Model({2: 2}, warmup=(1, 4)),
    "e": Model({2: 2}, steps=(("m", 2), ("same", 1))),
    "same": Model({1: 1}),
}


def back_and_forth(pod, tmp_path, times):
    releases = [pod.store.publish(ONE), pod.store.publish(TWO)]
    pod.store.promote(releases[0])
    agent = pod.agent()
    agent.once()
    spans = []
    with load(pod.server, tmp_path / "answers", "m", "e", "same") as answers:
        time.sleep(1)
        for wanted in [n for _, n in zip(range(times), cycle((1, 0)), strict=False)]:
            pod.store.promote(releases[wanted])
            begun = time.time()
            agent.once()
            spans.append((wanted + 1, begun, time.time()))
            time.sleep(0.5)
    assert not answers.errors, answers.errors[:5]
    assert answers.pairs("same") == {(1, 1)}
    assert pod.loads().count("same:1") == 1  # not even as a member of ensembles that changed
    ends = [begun for _, begun, _ in spans[1:]] + [time.time()]
    for (version, _, done), end in zip(spans, ends, strict=True):
        for model in ("m", "e"):
            assert answers.pairs(model) == {(1, 1), (2, 2)}
            assert answers.between(done, end).pairs(model) == {(version, version)}
    assert len(answers.rows) > 100 * times
    print(len(answers.rows), "answers, slowest", answers.slowest(), [d - b for _, b, d in spans])


def test_five_promotions_and_rollbacks_lose_no_request(pod, tmp_path):
    back_and_forth(pod, tmp_path, 5)


@pytest.mark.campaign
def test_fifty_promotions_and_rollbacks_lose_no_request(pod, tmp_path):
    back_and_forth(pod, tmp_path, 50)


POISON = {
    "does not load": (Model({2: 2}, start="raise ValueError('no weights')"), "load"),
    "crashes at its start": (Model({2: 2}, start="os.kill(os.getpid(), signal.SIGSEGV)"), "load"),
    "never ends loading": (Model({2: 2}, start="time.sleep(3600)"), "hang"),
    "fails in its warm-up": (
        Model({2: 2}, warmup=(1, 4), instances=2, fault="assert x.any(), 'zeros'"),
        "warm-up",
    ),
    "answers otherwise": (Model({2: 2}, claims=3), "probe"),
    "raises": (Model({2: 2}, fault="raise ValueError('always')"), "probe"),
    "crashes when it is asked": (
        Model({2: 2}, fault="os.kill(os.getpid(), signal.SIGSEGV)"),
        "probe",
    ),
    "does not answer": (Model({2: 2}, fault="time.sleep(3600)"), "probe"),
}


@pytest.mark.parametrize(("model", "reason"), POISON.values(), ids=list(POISON))
def test_a_poisoned_release_is_refused_and_nobody_ever_sees_it(pod, tmp_path, model, reason):
    good = pod.store.publish(ONE)
    bad = pod.store.publish({**TWO, "m": model})
    pod.store.promote(good)
    agent = pod.agent(load_within=3, answer_within=3)
    agent.once()
    with load(pod.server, tmp_path / "answers", "m", "e") as answers:
        time.sleep(0.5)
        pod.store.promote(bad)
        agent.step()
        assert agent.ready() == (True, good)
        agent.step()
        time.sleep(0.5)
    assert [one["reason"] for one in pod.heard.of("refused")] == [reason]
    assert not answers.errors, answers.errors[:5]
    assert answers.pairs("m") == answers.pairs("e") == {(1, 1)}
    assert pod.server.alive()
    assert not list(pod.folder.glob("*.rehearsal-*"))
    pod.store.promote(
        pod.store.publish({**TWO, "m": Model({3: 3}), "e": Model({3: 3}, steps=(("m", 3),))})
    )
    agent.once()
    assert pod.answer("e") == (3, 3)
