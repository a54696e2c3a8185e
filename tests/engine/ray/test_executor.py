"""Builds on a Ray cluster of real nodes, each with a cache of its own."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from builder.engine.executor import Order
from builder.engine.ray.demand import demand, infeasible
from builder.engine.ray.executor import RayExecutor, differing
from builder.engine.ray.node import GATEWAY
from builder.errors import BuilderError, InputError, MissingError, WorkFailedError
from builder.flow.build import Options, build
from builder.flow.context import context
from builder.plan.action import Action, Needs
from builder.plan.evaluate import Record, ask
from builder.remote.cache import Remote
from builder.store.store import Store
from tests.engine.ray.cluster import Cluster, words
from tests.projects import ECHO_SOURCE, echo, model

ODD = "7.5"
"""The compute capability that marks the node whose NumPy is another."""

MEET = """
import pathlib, time

def _meet(name):
    folder = pathlib.Path({folder!r})
    (folder / f"{{name}} in {{pathlib.Path(__file__).parents[4].name}}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)

_meet({name!r})
"""
"""A source that says in whose cache it lies, and then waits for leave to go on."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, installation):
    """Two nodes of one core, and one that only who asks for its mark can get."""
    folder = tmp_path_factory.mktemp("c")
    other = folder / "site" / "numpy-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 9.9.9\n")
    path = [str(other.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    with Cluster(folder, installation.root.parent) as nodes:
        nodes.add("other")
        nodes.add(
            "odd",
            "--memory=80000000",  # too little for any stage: nothing comes here unasked
            f"--resources={json.dumps({f'compute_capability:{ODD}': 1})}",
            environment={"PYTHONPATH": os.pathsep.join(path)},
        )
        yield nodes


class Project:
    """A project with a remote cache, built with one local cache or another."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.root = folder / "project"
        self.root.mkdir()
        self.remote = f"file://{folder}/remote"
        self.said = []
        self._monkeypatch = monkeypatch

    def context(self, cache="driver", *, read_only=False):
        self._monkeypatch.setenv("TRITON_BUILDER_CACHE", str(self.folder / cache))
        here = context(self.root, None)
        remote = Remote(self.remote, read_only=read_only, warn=self.said.append)
        return replace(here, store=replace_remote(here.store, remote))

    def build(self, cluster=None, cache="driver"):
        """Builds on a cluster, or here; gives the manifest and what was built."""
        here = self.context(cache)
        how = Options(jobs=2, validate=False, cluster=self.executor(cluster) if cluster else None)
        with closing(here.store.remote):
            outcome = build(here, how)
        return outcome.manifest, {id_: r.outputs for id_, r in outcome.records.items()}

    def executor(self, cluster):
        if not isinstance(cluster, str):
            for name, value in cluster.key.items():
                self._monkeypatch.setenv(name, value)
            cluster = cluster.address
        return lambda here: RayExecutor(
            here.store, address=cluster, release=here.target.triton, say=self.said.append
        )

    def ask(self, cluster, needs, change=lambda order: order):
        """What comes of the `python` action of the model `echo`, with other needs."""
        here = self.context()
        action = here.graph.actions["python echo"]
        question = ask(action, here.files, {})
        order = Order(replace(action, needs=needs), question.key, question.ingredients, {})
        executor = self.executor(cluster)(here)
        try:
            executor.start(change(order))
            while not (answers := executor.wait(None)):
                pass
        finally:
            executor.stop()
        return answers[0][1]


def replace_remote(store, remote):
    return Store(store.root, store.project, "cpu", remote)


@pytest.fixture
def project(tmp_path, monkeypatch):
    return Project(tmp_path, monkeypatch)


def _echoes_that_meet(project):
    meeting = project.folder / "meeting"
    meeting.mkdir()
    for name in ("one", "two"):
        echo(project.root, name, MEET.format(folder=str(meeting), name=name) + ECHO_SOURCE)
    return meeting


def _places(meeting):
    """Which model was begun where: `[("one", "cache-head"), ...]`."""
    return sorted(tuple(p.name.split(" in ")) for p in meeting.iterdir() if " in " in p.name)


def _until(condition):
    while not condition():  # the test's own time limit ends it
        time.sleep(0.02)


# --- what a cluster builds -----------------------------------------------------------------


@pytest.mark.live
def test_two_nodes_give_the_bytes_of_one_machine(project, cluster):
    meeting = _echoes_that_meet(project)
    model(project.root)
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(project.build, cluster)
        _until(lambda: len(_places(meeting)) == 2 or building.done())
        (meeting / "go").touch()
        there = building.result()
    assert {place for _, place in _places(meeting)} == {"cache-head", "cache-other"}
    nodes = {node.name: node.built() for node in cluster.nodes}
    assert {"reference"} <= nodes["head"] & nodes["other"]
    assert {"export", "prove", "config", "python"} <= nodes["head"] | nodes["other"]
    assert not nodes["odd"]
    project.remote = f"file://{project.folder}/another"
    assert project.build(cache="local") == there


@pytest.mark.live
def test_what_a_cluster_built_is_a_hit_on_another_machine(project, cluster):
    echo(project.root)
    there = project.build(cluster)
    assert project.build("127.0.0.1:1", cache="elsewhere") == there


@pytest.mark.live
def test_a_machine_that_is_no_node_builds_through_the_client(project, cluster):
    echo(project.root)
    project.executor(cluster)
    assert project.build(cluster.client) == project.build(cache="local")


@pytest.mark.live
def test_without_an_address_ray_is_started_here_and_leaves_nothing(project):
    echo(project.root)
    here = project.context()
    executor = RayExecutor(here.store, address=None, release="24.10", say=project.said.append)
    folder = str(executor._folder)
    home = set(Path.home().iterdir())
    build(here, Options(jobs=1, validate=False, cluster=lambda _: executor))
    assert not Path(folder).exists()
    assert set(Path.home().iterdir()) == home
    _until(lambda: not [p for p in psutil.process_iter() if folder in " ".join(words(p))])


@pytest.mark.live
def test_a_worker_on_a_node_is_like_one_here(project, cluster):
    seen = project.folder / "seen"
    told = "f'{\"ray\" in sys.modules} {sys.path[1:]}'"
    look = f"import sys\nopen({str(seen)!r}, 'w').write({told})\n"
    echo(project.root, source=look + ECHO_SOURCE)
    project.build(cluster)
    loaded, _, path = seen.read_text().partition(" ")
    assert loaded == "False"
    assert "site-packages" in path
    assert "site-packages/ray/" not in path
    assert GATEWAY not in path


# --- what goes wrong -----------------------------------------------------------------------


@pytest.mark.live
def test_a_node_that_dies_in_the_middle_costs_time_only(project, tmp_path, installation):
    meeting = _echoes_that_meet(project)
    with (
        Cluster(tmp_path / "c", installation.root.parent) as doomed,
        ThreadPoolExecutor(1) as pool,
    ):
        other = doomed.add("other")
        building = pool.submit(project.build, doomed)
        _until(lambda: len(_places(meeting)) == 2 or building.done())
        lost = next(name for name, place in _places(meeting) if place == "cache-other")
        other.kill()
        (meeting / "go").touch()
        there = building.result()
    assert any("was lost" in line and f"reference {lost}" in line for line in project.said)
    assert (lost, "cache-head") in _places(meeting)
    project.remote = f"file://{project.folder}/another"
    assert project.build(cache="local") == there


@pytest.mark.live
def test_another_version_of_a_tool_on_a_node_is_named(project, cluster):
    echo(project.root, source=ECHO_SOURCE)
    here = {**project.context().graph.actions["python echo"].tools, "numpy": "1.26.4"}

    def with_numpy(order):
        return replace(order, action=replace(order.action, tools=here))

    answer = project.ask(cluster, Needs(capability=ODD), with_numpy)
    assert isinstance(answer, MissingError)
    assert "numpy" in answer.problem
    assert (answer.found, answer.expected) == ("9.9.9", "1.26.4")
    assert "pip install numpy==1.26.4" in answer.fix
    assert isinstance(project.ask(cluster, Needs(memory=10**8), with_numpy), Record)


@pytest.mark.live
@pytest.mark.parametrize("needs", [Needs(gpus=8), Needs(capability="9.0"), Needs(memory=10**15)])
def test_what_no_node_can_run_is_refused_at_once(project, cluster, needs):
    echo(project.root)
    answer = project.ask(cluster, needs)
    assert isinstance(answer, MissingError)
    assert "no node" in answer.problem
    assert "3 nodes" in answer.found


@pytest.mark.live
def test_what_a_failing_source_printed_is_shown(project, cluster):
    echo(
        project.root,
        source=ECHO_SOURCE + "print('a last word', flush=True)\nraise ValueError('no')\n",
    )
    with pytest.raises(BuilderError) as caught:
        project.build(cluster)
    assert "a last word" in str(caught.value)
    assert "source.py" in str(caught.value)


@pytest.mark.live
def test_a_source_that_kills_its_worker_is_not_taken_for_a_lost_node(project, cluster):
    echo(
        project.root,
        source=ECHO_SOURCE + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    )
    with pytest.raises(WorkFailedError, match="worker process died"):
        project.build(cluster)
    assert project.said == []


@pytest.mark.live
def test_a_source_that_is_edited_meanwhile_is_refused(project, cluster):
    echo(project.root)

    def edited(order):
        (project.root / "models/echo/model.py").write_text("# another\n")
        files = {"source": ["models/echo/model.py", "0" * 64]}
        return replace(order, ingredients={**order.ingredients, "files": files})

    answer = project.ask(cluster, Needs(), edited)
    assert isinstance(answer, MissingError)
    assert "models/echo/model.py" in answer.where
    assert "do not edit" in answer.fix


@pytest.mark.live
def test_stopping_ends_what_runs_on_the_nodes(project, cluster):
    meeting = _echoes_that_meet(project)
    executor = project.executor(cluster)(here := project.context())
    for name in ("one", "two"):
        action = here.graph.actions[f"reference {name}"]
        question = ask(action, here.files, {})
        executor.start(Order(action, question.key, question.ingredients, {}))
    _until(lambda: len(_places(meeting)) == 2)
    assert sum(node.working() for node in cluster.nodes) == 2
    executor.stop()
    _until(lambda: not any(node.working() for node in cluster.nodes))


@pytest.mark.live
def test_a_lost_head_ends_the_build(project, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "2")
    meeting = _echoes_that_meet(project)
    with Cluster(tmp_path / "c") as doomed, ThreadPoolExecutor(1) as pool:
        building = pool.submit(project.build, doomed)
        _until(lambda: _places(meeting) or building.done())
        doomed.nodes[0].kill()
        with pytest.raises(WorkFailedError, match="cluster was lost"):
            building.result()


@pytest.mark.live
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense"])
def test_an_address_without_a_cluster_is_named(project, address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    echo(project.root)
    with pytest.raises(MissingError, match="cannot connect") as caught:
        project.build(address)
    assert caught.value.found == address
    assert "ray start" in caught.value.fix


def test_a_cluster_needs_a_remote_cache_that_may_be_written(project):
    echo(project.root)
    here = project.context(read_only=True)
    for store in (here.store, Store(here.store.root, project.root)):
        with pytest.raises(InputError, match="goes through the remote cache") as caught:
            RayExecutor(store, address=None, release="24.10", say=print)
        assert "remote-cache" in caught.value.where
        assert caught.value.exit_code == 2


def test_what_a_node_read_must_be_the_same_here(tmp_path):
    outside, store = tmp_path / "vocabulary", Store(tmp_path / "store", tmp_path / "project")
    outside.write_text("here")
    same = {str(outside): store.files.of(outside), "distribution:pytest": pytest.__version__}
    record = Record("0" * 64, {}, {}, same, {})
    assert differing(record, "reference echo", store) is None
    for read, there in ((str(outside), "1" * 64), ("distribution:pytest", "0.1")):
        error = differing(replace(record, reads={**same, read: there}), "reference echo", store)
        assert isinstance(error, MissingError)
        assert read.removeprefix("distribution:") in error.problem
        assert (error.found, error.expected) == (there, same[read])


# --- needs in Ray's terms ------------------------------------------------------------------


def _node(*, alive=True, **resources):
    return {"Alive": alive, "Resources": {"CPU": 4.0, "memory": 1e9, **resources}}


def _action(**needs):
    return Action("export x", "export", {}, needs=Needs(**needs))


def test_needs_become_rays_resources():
    assert demand(_action(cpus=2, memory=5, gpus=1), []) == {"CPU": 2, "memory": 5, "GPU": 1}


def test_a_capability_is_a_mark_that_a_node_offers_or_an_accelerator_that_ray_knows():
    wanted = _action(gpus=1, capability="9.0")
    h100 = {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 1.0, "accelerator_type:H100": 1.0}}
    marked = {"Alive": True, "Resources": {"CPU": 1.0, "compute_capability:9.0": 1.0}}
    assert "accelerator_type:H100" in demand(wanted, [h100])
    assert "compute_capability:9.0" in demand(wanted, [h100, marked])
    assert "compute_capability:9.0" in demand(wanted, [])


def test_one_node_must_have_all_that_an_action_needs():
    gpu, memory = _node(GPU=1.0, memory=1.0), _node()
    assert infeasible(_action(gpus=1, memory=10), [gpu, memory])
    assert infeasible(_action(gpus=1), [gpu, memory]) is None


def test_a_dead_node_has_nothing():
    assert infeasible(_action(), [_node(alive=False)])
    assert infeasible(_action(), [_node()]) is None
