"""A Triton in explicit mode on a folder that an agent follows into."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from builder.agent.follow import Follower, Options
from builder.agent.home import Home
from builder.agent.metrics import Metrics
from builder.agent.source import StoreSource
from builder.agent.tell import Teller
from builder.agent.triton import Triton
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.launch import Launch
from tests.agent.zoo import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Heard:
    """A log that is kept."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def say(self, text: str, event: str = "", **fields: object) -> None:
        self.events.append({"event": event, "text": text, **fields})

    def of(self, event: str) -> list[dict[str, object]]:
        return [one for one in self.events if one["event"] == event]

    @property
    def text(self) -> str:
        return "\n".join(str(one["text"]) for one in self.events)


class Pod:
    """A folder, the server that serves it, and an agent in this process."""

    def __init__(
        self, folder: Path, store: Store, server: EmbeddedServer, control: str | None = None
    ) -> None:
        self._control = control
        self.folder = folder
        self.store = store
        self.server = server
        self.heard = Heard()
        self.metrics = Metrics()
        self.home = Home(folder)

    def agent(self, models=(), check=None, **options: object) -> Follower:
        """An agent; another one each time, as after a restart."""
        given = {"interval": 0.0, "load_within": 30.0, "answer_within": 10.0, **options}
        tell = Teller(self.heard, self.metrics, 30)
        store = self.store.store
        source = StoreSource(
            store, store, "prod", self.folder, models=models, check=check, say=tell.say
        )
        return Follower(self.home, source, self.triton, tell, Options(**given))

    @property
    def triton(self) -> Triton:
        return Triton(self.server.http, self.server.grpc, self._control)

    def answer(self, model: str, x: int = 7) -> tuple[int, int]:
        """The version that answers when none is asked, and its factor."""
        import json

        body = {"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [x, x]}]}
        content, _ = self.triton.endpoint.call(
            "POST", f"/v2/models/{model}/infer", json.dumps(body).encode()
        )
        said = json.loads(content)
        return int(said["model_version"]), said["outputs"][0]["data"][0] // x

    def loads(self) -> list[str]:
        """What the server has begun to load so far: `m:1`."""
        import re

        return re.findall(r'"loading: (\S+)"', self.server.log())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pod" / "repository"
    place.mkdir(parents=True)
    return place


@contextmanager
def running(installation, folder: Path, **options) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(installation, [folder], Launch(**options)) as server:
        yield server


@pytest.fixture
def pod(installation, folder, store) -> Iterator[Pod]:
    with running(installation, folder) as server:
        yield Pod(folder, store, server)
