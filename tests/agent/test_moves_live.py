"""An agent brings a real Triton from release to release."""

from __future__ import annotations

import pytest

from tests.agent.zoo import Model

pytestmark = pytest.mark.live

ONE = {"m": Model({1: 1}, warmup=(1, 4)), "e": Model({1: 1}, steps=(("m", 1),))}
TWO = {"m": Model({2: 2}, warmup=(1, 4)), "e": Model({2: 2}, steps=(("m", 2),))}


def test_an_empty_folder_is_filled_and_an_empty_server_loaded(pod):
    release = pod.store.publish(ONE)
    pod.store.promote(release)
    agent = pod.agent()
    agent.once()
    assert pod.answer("m") == (1, 1)
    assert pod.answer("e") == (1, 1)
    assert agent.ready() == (True, release)


def test_a_move_takes_the_server_along_and_a_move_back_too(pod):
    first, second = pod.store.publish(ONE), pod.store.publish(TWO)
    pod.store.promote(first)
    agent = pod.agent()
    agent.once()
    pod.store.promote(second)
    agent.once()
    assert pod.answer("m") == (2, 2)
    assert pod.answer("e") == (2, 2)
    pod.store.rollback()
    agent.once()
    assert pod.answer("m") == (1, 1)
    assert pod.answer("e") == (1, 1)
    print(pod.heard.text)
