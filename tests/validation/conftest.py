"""A live server that serves the zoo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.validation.case import Case
from builder.validation.checks import readiness
from builder.validation.client import Client
from builder.validation.probes import probes
from tests.validation.zoo import ALL, QUEUE, Zoo, warmup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.servers.embedded.server import EmbeddedServer
    from builder.validation.subject import Subject


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> Zoo:
    return Zoo(tmp_path_factory.mktemp("validation") / "models")


@pytest.fixture(scope="session")
def server(installation, zoo, tmp_path_factory) -> Iterator[EmbeddedServer]:
    from builder.servers.embedded.server import EmbeddedServer
    from builder.servers.launch import Launch

    folder = probes(tmp_path_factory.mktemp("probes"))
    with EmbeddedServer(installation, [zoo.root, folder], Launch(verbose=1)) as running:
        yield running


@pytest.fixture(scope="session")
def client(server) -> Iterator[Client]:
    with Client(server.grpc, server.http) as asking:
        yield asking


@pytest.fixture
def case(server, client):
    """Loads a subject and gives the case of its last version; unloads it afterwards."""
    loaded = []

    def make(described: Subject) -> Case:
        loading = readiness.load(client, server, described)
        assert loading.refusal is None, loading.refusal
        loaded.append(described.name)
        return Case(server, client, described, described.versions[-1])

    yield make
    for name in loaded:
        client.unload(name)


@pytest.fixture(scope="session")
def sound(server, client, zoo) -> Case:
    """The sound model: batched, warmed, with a queue timeout and two versions."""
    described = zoo.add(
        "sound",
        config=QUEUE + ALL + warmup(1, 4),
        versions=(1, 2),
        warmup=(1, 4),
        timeout_us=5_000_000,
    )
    assert readiness.load(client, server, described).refusal is None
    return Case(server, client, described, described.versions[-1])
