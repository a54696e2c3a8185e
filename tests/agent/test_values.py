"""Stamps, state, metrics, warm-up: what an agent works with, without a server."""

from __future__ import annotations

import os
import re
import time

import pytest

from builder.agent import stamps, state, warmup
from builder.agent import tree as trees
from builder.agent.backoff import Backoff
from builder.agent.home import Home
from builder.agent.memory import unready
from builder.agent.metrics import Metrics
from builder.agent.state import Position, Refusal, State
from builder.agent.tree import Model
from builder.errors import InputError
from builder.triton.wire import HEADER
from tests.agent.zoo import Model as ZooModel
from tests.agent.zoo import repository

# --- stamps ------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    """Two trees of one model each, and their models."""

    def make(name, versions, served):
        for number in versions:
            (tmp_path / name / "m" / str(number)).mkdir(parents=True)
        return tmp_path / name, {"m": Model(versions, served)}

    return make


def times(folder):
    return {
        path.name: path.stat().st_mtime_ns // stamps.SECOND - stamps.BASE
        for path in (folder / "m", *(folder / "m").iterdir())
    }


def test_what_is_new_gets_a_fresh_stamp(two):
    folder, models = two("a", {1: "x"}, "s")
    stamps.stamp(folder, models, None, 7)
    assert times(folder) == {"m": 7, "1": 7}


def test_what_is_as_it_was_keeps_its_stamp(two):
    old, before = two("a", {1: "x"}, "s")
    stamps.stamp(old, before, None, 7)
    new, models = two("b", {1: "x"}, "s")
    stamps.stamp(new, models, (old, before), 8)
    assert times(new) == {"m": 7, "1": 7}


def test_another_version_is_new_and_the_one_beside_it_is_not(two):
    old, before = two("a", {1: "x"}, "s")
    stamps.stamp(old, before, None, 7)
    new, models = two("b", {1: "x", 2: "y"}, "t")
    stamps.stamp(new, models, (old, before), 8)
    assert times(new) == {"m": 8, "1": 7, "2": 8}


def test_an_older_tree_that_comes_back_is_new_again(two):
    old, before = two("a", {1: "x"}, "s")
    stamps.stamp(old, before, None, 7)
    new, models = two("b", {1: "y"}, "t")
    stamps.stamp(new, models, (old, before), 8)
    stamps.stamp(old, before, (new, models), 9)
    assert times(old) == {"m": 9, "1": 9}


def test_what_was_never_loaded_of_the_other_keeps_the_stamps_that_the_server_knows(two):
    old, before = two("a", {1: "x"}, "s")
    stamps.stamp(old, before, None, 7)
    new, models = two("b", {1: "y"}, "t")
    stamps.stamp(old, before, (new, models), 9, left=["m"])
    assert times(old) == {"m": 7, "1": 7}


def test_what_is_to_be_loaded_again_is_new_whatever_it_was(two):
    folder, models = two("a", {1: "x"}, "s")
    stamps.stamp(folder, models, None, 7)
    stamps.stamp(folder, models, (folder, models), 8, again=["m"])
    assert times(folder) == {"m": 8, "1": 8}


def test_stamps_are_later_than_anything_that_happens_to_files(two):
    folder, models = two("a", {1: "x"}, "s")
    (folder / "m" / "1" / "f").write_text("f")
    stamps.stamp(folder, models, None, 1)
    latest = max(max(s.st_mtime_ns, s.st_ctime_ns) for s in map(os.stat, folder.rglob("*")))
    assert latest == (stamps.BASE + 1) * stamps.SECOND


# --- state -------------------------------------------------------------------------------


def test_a_state_reads_back():
    refused = Refusal(Position("sha256:a", "tag"), "probe", "m 1: wrong", 12.5)
    one = State("sha256:g", "sha256:n", refused, 7, ("p", "q"))
    assert state.decode(one.encode()) == one
    assert state.decode(State().encode()) == State()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 99}', b'{"schema": 1}'])
def test_what_is_no_state_is_an_empty_one(content):
    assert state.decode(content) == State()


def test_a_refusal_is_of_a_position_and_not_of_a_release():
    refused = Refusal(Position("sha256:a", "1"), "probe", "", 0.0)
    assert State(refused=refused).refuses(Position("sha256:a", "1"))
    assert not State(refused=refused).refuses(Position("sha256:a", "2"))
    assert not State().refuses(Position("sha256:a", "1"))


def test_the_oldest_proofs_are_forgotten():
    one = State().with_proven({str(n) for n in range(state.PROVEN)})
    two = one.with_proven({"new"})
    assert len(two.proven) == state.PROVEN
    assert two.proven[-1] == "new"


def test_a_proof_is_remembered_once():
    assert State(proven=("a", "b")).with_proven({"a"}).proven == ("b", "a")


# --- metrics -----------------------------------------------------------------------------


def test_metrics_are_in_the_format_of_prometheus():
    metrics = Metrics()
    metrics.only("info", channel="prod", release='odd "name" \\ \n')
    metrics.at("serving")
    metrics.add("seconds_sum", 1.25, part="moving")
    text = metrics.render()
    line = re.compile(r'(# (HELP|TYPE) \w+ .*|\w+(\{(\w+="(\\.|[^"\\])*",?)+\})? [0-9.e+-]+)')
    assert all(line.fullmatch(one) for one in text.splitlines()), text
    assert 'triton_builder_agent_seconds_sum{part="moving"} 1.25' in text
    assert r'release="odd \"name\" \\ \n"' in text
    assert text.count("} 1\n") == 2  # the info, and the one state


def test_an_info_is_about_one_release():
    metrics = Metrics()
    metrics.only("info", release="a")
    metrics.only("info", release="b")
    assert 'release="a"' not in metrics.render()


def test_failures_are_counted_from_the_start():
    assert 'triton_builder_agent_failures_total{reason="probe"} 0' in Metrics().render()


# --- trees -------------------------------------------------------------------------------


def read(tmp_path, name, **models):
    repository(tmp_path / name, models)
    return trees.read(tmp_path / name)


def test_a_tree_knows_its_versions_and_who_calls_whom(tmp_path):
    found = read(tmp_path, "a", m=ZooModel({1: 1, 2: 2}), e=ZooModel(steps=(("m", 2),)))
    assert found.models["m"].versions.keys() == {1, 2}
    assert found.models["e"].pins == {("m", 2)}
    assert found.release == trees.release_of(tmp_path / "a")
    assert found.probe("m", 2).number == 2


def test_a_version_is_the_same_whatever_lies_beside_it(tmp_path):
    one = read(tmp_path, "a", m=ZooModel({1: 1})).models["m"]
    two = read(tmp_path, "b", m=ZooModel({1: 1, 2: 2})).models["m"]
    assert one.versions[1] == two.versions[1]
    assert one.served != two.served


def test_a_version_is_another_one_by_its_config_and_its_warmup(tmp_path):
    one = read(tmp_path, "a", m=ZooModel()).models["m"].versions[1]
    two = read(tmp_path, "b", m=ZooModel(config="dynamic_batching { }\n")).models["m"].versions[1]
    three = read(tmp_path, "c", m=ZooModel(warmup=(1,))).models["m"].versions[1]
    assert len({one, two, three}) == 3


def test_probes_are_no_part_of_what_is_served(tmp_path):
    one = read(tmp_path, "a", m=ZooModel()).models["m"]
    two = read(tmp_path, "b", m=ZooModel(claims=5)).models["m"]
    assert one.served == two.served
    assert one.probes != two.probes


def test_what_is_no_tree_is_none(tmp_path):
    assert trees.read(tmp_path) is None
    (tmp_path / "manifest.json").write_text("{}")
    assert trees.read(tmp_path) is None


def test_on_a_move_each_model_may_be_as_it_was_or_as_it_will_be(tmp_path):
    one = read(tmp_path, "a", m=ZooModel({1: 1}), gone=ZooModel())
    two = read(tmp_path, "b", m=ZooModel({2: 2}), new=ZooModel())
    assert unready([one], {"m": {1: "READY"}, "gone": {1: "READY"}}) == set()
    assert unready([one], {"m": {1: "READY"}, "gone": {1: "LOADING"}}) == {"gone"}
    for number in (1, 2):
        assert unready([one, two], {"m": {number: "READY"}}) == set()
    assert unready([one, two], {"m": {1: "UNAVAILABLE", 3: "READY"}}) == {"m"}
    assert unready([], {}) == set()


# --- warm-up -----------------------------------------------------------------------------


def test_a_warmup_is_a_request_a_batch_size(tmp_path):
    model = ZooModel(warmup=(1, 4))
    repository(tmp_path, {"m": model})
    found = list(warmup.requests(tmp_path / "m", model.text("m")))
    assert [one.name for one in found] == ["rows-1", "rows-4"]
    assert [len(one.body) - one.header for one in found] == [8, 32]
    assert b'"shape":[4,2]' in found[1].body
    assert HEADER


def test_a_warmup_that_is_too_large_for_a_request_has_fewer_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "LARGEST", 24)
    model = ZooModel(warmup=(8,))
    repository(tmp_path, {"m": model})
    (one,) = warmup.requests(tmp_path / "m", model.text("m"))
    assert b'"shape":[3,2]' in one.body


def test_a_warmup_without_a_file_is_of_zeros(tmp_path):
    text = (
        'max_batch_size: 0 input { name: "x" } output { name: "y" } model_warmup { name: "w" '
        'batch_size: 1 inputs { key: "x" value { data_type: TYPE_STRING dims: [3] '
        "zero_data: true } } }"
    )
    (one,) = warmup.requests(tmp_path, text)
    assert one.body[one.header :] == bytes(12)
    assert b'"datatype":"BYTES","shape":[3]' in one.body


# --- the rest ----------------------------------------------------------------------------


def test_what_fails_again_is_tried_later():
    backoff = Backoff(1000)
    assert backoff.due()
    backoff.failed()
    assert not backoff.due()
    backoff.reset()
    assert backoff.due()


def test_the_time_between_tries_has_an_end():
    backoff = Backoff(1e-3)
    for _ in range(100):
        backoff.failed()
    assert backoff._next - time.monotonic() <= 600


def test_a_folder_of_somebody_elses_is_not_followed_into(tmp_path):
    (tmp_path / "f").write_text("mine")
    with pytest.raises(InputError, match="not written by triton-builder"):
        Home(tmp_path)


def test_what_is_rehearsed_is_taken_out_of_the_folder(tmp_path):
    home = Home(tmp_path / "repository")
    repository(home.folder, {"m": ZooModel()})
    (home.rehearsal / "m.rehearsal-1" / "1").mkdir(parents=True)
    home.admit("m.rehearsal-1")
    assert (home.folder / "m.rehearsal-1").is_dir()
    home.dismiss()
    assert sorted(p.name for p in home.folder.iterdir()) == ["m", "manifest.json"]
    assert not home.rehearsal.exists()


def test_a_tree_that_is_put_in_place_leaves_the_other_where_it_belongs(tmp_path):
    home = Home(tmp_path / "repository")
    repository(home.folder, {"m": ZooModel()})
    old = trees.release_of(home.folder)
    new = home.work / "some"
    repository(new, {"m": ZooModel({2: 2})})
    wanted = trees.release_of(new)
    home.put(new)
    assert trees.release_of(home.folder) == wanted
    assert trees.release_of(home.place(old)) == old
    assert home.find(old).folder == home.place(old)
    home.tidy()
    assert home.find(old) is None
