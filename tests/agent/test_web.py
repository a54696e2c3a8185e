"""What an agent answers over HTTP, whichever addresses the cluster has."""

import http.client
import socket

import pytest

from builder.agent.web import serving


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_answers_on_addresses_of_both_kinds(host):
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with serving(0, {"/healthz": lambda: (True, "well")}, lambda: "") as port:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"well\n"
        connection.close()


def test_nobody_is_asked_for_our_name(monkeypatch):
    def unreachable(_name=""):
        raise AssertionError

    monkeypatch.setattr(socket, "getfqdn", unreachable)
    with serving(0, {}, lambda: "") as port:
        assert port
