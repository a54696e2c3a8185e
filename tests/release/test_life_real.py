"""The whole life of a release on real stores, through the command line, until Triton answers."""

import asyncio
import json
import os
import urllib.request
from datetime import timedelta

import pytest

from builder.release import collect, layout, publish, pull, tree
from builder.release.store import ReleaseStore
from builder.remote.limits import PART, WIDTH
from builder.remote.transfers import SMALL
from builder.servers.embedded.server import EmbeddedServer
from builder.servers.launch import Launch
from tests.release.commands import right, wrong
from tests.release.trees import files, repository

pytest_plugins = ["tests.stores.ceph", "tests.stores.azurite"]
pytestmark = pytest.mark.live

NOW = timedelta(0)


@pytest.fixture(params=["ceph", "azurite", "folder"])
def url(request, tmp_path, monkeypatch):
    """An empty store's address; how to reach it stands in the environment."""
    if request.param == "folder":
        return (tmp_path / "store").as_uri()
    server = request.getfixturevalue({"ceph": "s3", "azurite": "azure"}[request.param])
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    scheme = {"ceph": "s3", "azurite": "az"}[request.param]
    return f"{scheme}://{server.bucket()}/releases"


def answer(address, model="echo"):
    """What a model says to 1 and 2."""
    tensor = {"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [1, 2]}
    request = urllib.request.Request(
        f"http://{address}/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode()
    )
    with urllib.request.urlopen(request, timeout=60) as said:  # noqa: S310 - our own server
        return json.loads(said.read())["outputs"][0]["data"]


def served(installation, folder):
    with EmbeddedServer(installation, [folder], Launch(explicit=False)) as server:
        return answer(server.http)


def test_published_promoted_pulled_served_rolled_back_collected(
    url, project, installation, tmp_path
):
    pod = tmp_path / "pod"
    one = right("-C", project.first, "publish", "--store", url, "--channel", "prod", "--json").json
    assert (one["new"], one["uploaded"]) == (True, one["size"])
    two = right("-C", project.second, "publish", "--store", url, "--json").json
    assert 0 < two["uploaded"] < two["size"]

    assert right("pull", "prod", pod, "--store", url, "--json").json["release"] == one["release"]
    assert files(pod) == files(project.first / "repository/cpu")
    assert served(installation, pod) == [1, 2]

    right("promote", two["release"], "prod", "--store", url)
    update = right("pull", "prod", pod, "--store", url, "--json").json
    assert update["release"] == two["release"]
    assert 0 < update["downloaded"] < update["size"]
    assert files(pod) == files(project.second / "repository/cpu")
    assert served(installation, pod) == [2, 3]

    right("rollback", "prod", "--store", url)
    assert right("pull", "prod", pod, "--store", url, "--json").json["release"] == one["release"]
    assert served(installation, pod) == [1, 2]
    assert not right("pull", "prod", pod, "--store", url, "--json").json["changed"]

    listed = right("releases", "--store", url, "--json").json
    assert {r["release"]: r["channels"] for r in listed["releases"]} == {
        one["release"]: ["prod"],
        two["release"]: [],
    }
    (channel,) = listed["channels"]
    assert [move["action"] for move in channel["history"]] == ["promote", "promote", "rollback"]

    assert right("gc", "--releases", "--store", url, "--json").json["releases"] == []
    gone = right("gc", "--releases", "--window", "0h", "--store", url, "--json").json
    assert gone["releases"] == [two["release"]]
    assert "dropped by gc" in wrong(2, "pull", two["release"], tmp_path / "other", "--store", url)
    swept = asyncio.run(collect.collect(ReleaseStore(url), NOW, grace=NOW))
    assert swept.objects > 0
    assert right("verify", "prod", "--store", url, "--json").json["release"] == one["release"]
    assert right("verify", pod, "--json").json["release"] == one["release"]
    right("pull", "prod", tmp_path / "fresh", "--store", url)
    assert files(tmp_path / "fresh") == files(project.first / "repository/cpu")


def test_files_of_every_size(url, tmp_path):
    sizes = {
        0,
        1,
        SMALL - 1,
        SMALL,
        SMALL + 1,
        PART - 1,
        PART,
        PART + 1,
        WIDTH * PART,
        2 * PART + 1,
    }
    contents = {f"f{size}": os.urandom(size) for size in sizes}
    repository(tmp_path / "built", {"a": {"1": contents}})
    store = ReleaseStore(url, create=True)
    release = asyncio.run(publish.publish(tmp_path / "built", store, publish.Options())).release
    asyncio.run(pull.pull(store, release, tmp_path / "pod", pull.Options()))
    assert files(tmp_path / "pod") == files(tmp_path / "built")


def test_what_a_store_does_not_copy_is_uploaded_again(url, tmp_path, monkeypatch):
    """As S3 does with more than 5 GiB."""
    monkeypatch.setattr(tree, "COPIED", PART)
    repository(tmp_path / "built", {"a": {"1": {"f": b"1", "weights": os.urandom(PART + 1)}}})
    store, how = ReleaseStore(url, create=True), publish.Options(tree=True)
    release = asyncio.run(publish.publish(tmp_path / "built", store, how)).release
    root = f"{layout.tree(release)}/"
    laid = {r.path.removeprefix(root): r.size for r in asyncio.run(store.list(root))}
    assert laid == {name: len(content) for name, content in files(tmp_path / "built").items()}


class FromStore(EmbeddedServer):
    """A tritonserver whose repository lies in a store that its own client reads."""

    def __init__(self, installation, address, environment):
        super().__init__(installation, [], Launch(explicit=False))
        self._address, self._own = address, environment

    def _command(self, backends, label):
        return [*super()._command(backends, label), f"--model-repository={self._address}"]

    def _environment(self, scratch):
        return {**super()._environment(scratch), **self._own}


def test_plain_files_are_served_by_tritons_own_client(s3, project, installation, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    bucket = s3.bucket()
    done = right(
        "-C", project.first, "publish", "--tree", "--store", f"s3://{bucket}/r", "--json"
    ).json
    tree = f"r/releases/{done['release'].replace(':', '-')}"
    with FromStore(installation, f"s3://{s3.endpoint}/{bucket}/{tree}", s3.environment()) as server:
        assert answer(server.http) == [1, 2]
        assert answer(server.http, "steady") == [1, 2]
