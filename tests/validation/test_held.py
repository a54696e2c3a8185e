"""What a server holds, once it gives nothing back any more."""

import pytest

from builder.validation import held
from builder.validation.held import Held


class Server:
    """Holds one thing after the other; the last for good."""

    def __init__(self, host, gpu=(None,)):
        self.host, self.gpu = list(host), list(gpu)

    def memory(self):
        return self.host.pop(0) if self.host[1:] else self.host[0]

    def gpu_memory(self):
        return self.gpu.pop(0) if self.gpu[1:] else self.gpu[0]


@pytest.mark.parametrize(
    ("host", "gpu", "settled"),
    [
        ([60], [None], Held(60)),
        ([60, 61, 62], [None], Held(62)),
        ([100, 100, 60], [None], Held(60)),  # a process of before was still ending
        ([100, 90, 90, 80, 80], [None], Held(80)),
        ([60], [9, 9, 5], Held(60, 5)),
        ([0], [9, 5], Held(None, 5)),
    ],
)
def test_it_is_asked_until_nothing_is_given_back(monkeypatch, host, gpu, settled):
    monkeypatch.setattr(held, "TICK", 0)
    assert Held.settled(Server(host, gpu)) == settled


def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(held, "SETTLING", 0.05)
    falling = Server(range(10**6, 0, -1))
    assert Held.settled(falling).host > 1
