"""What runs when: the longest path first, never more memory than there is, no GPU that is not."""

import textwrap
from dataclasses import replace

import pytest

from builder.engine import run as engine
from builder.engine.executor import Damaged
from builder.engine.local import LocalExecutor
from builder.engine.machine import Gpu, Machine
from builder.errors import MissingError, SeveralError, WorkFailedError
from builder.plan.action import Action, Needs
from builder.plan.evaluate import Record
from builder.plan.frontier import Frontier, longest_paths
from builder.plan.graph import Graph
from builder.store.store import Store

GB = 1_000_000_000


def action(name, stage="config", inputs=(), **needs):
    labels = {f"in {i}": i for i in inputs}
    return Action(name, stage, {"name": name}, inputs=labels, needs=Needs(**needs))


def graph(*actions):
    return Graph({a.id: a for a in actions}, {})


class Recorder:
    """An executor that does nothing at once, one action after another, and remembers the order."""

    inputs_here = True

    def __init__(self, store, answers=None):
        self.store, self.answers = store, answers or {}
        self.started, self.stopped, self._order = [], False, None

    def refuse(self, _action):
        return None

    def room(self, _action):
        return self._order is None

    def start(self, order):
        self.started.append(order.action.id)
        self._order = order
        return "lane"

    def wait(self, _seconds):
        order, self._order = self._order, None
        queued = self.answers.get(order.action.id)
        if queued:
            answer = queued.pop(0)
            if isinstance(answer, Damaged):
                self.store.blobs.drop(answer.digest)
            return [(order, answer)]
        out = {"file": self.store.put(order.action.id.encode())}
        record = Record(order.key, out, {}, {}, order.ingredients, seconds=1.0)
        self.store.keep(record)
        return [(order, record)]

    def stop(self):
        self.stopped = True


@pytest.fixture
def store(tmp_path):
    (tmp_path / "project").mkdir()
    return Store(tmp_path / "store", tmp_path / "project")


def walked(store, actions, answers=None, events=None):
    recorder = Recorder(store, answers)
    done = engine.run(
        graph(*actions),
        {},
        store,
        executor=lambda _: recorder,
        say=(events if events is not None else []).append,
    )
    assert recorder.stopped or not recorder.started
    return recorder.started, done


def test_the_longest_path_goes_first(store):
    actions = [
        action("short"),
        action("a", "export"),
        action("b", "int8", ["a"]),
        action("c", "prove", ["b"]),
        action("alone", "export"),
    ]
    started, _ = walked(store, actions)
    assert started == ["a", "alone", "b", "c", "short"]


def test_what_an_action_took_the_last_time_counts(store):
    quick, slow = action("quick", "export"), action("slow", "config")
    walked(store, [quick, slow])
    for name, seconds in (("quick", 1.0), ("slow", 100.0)):
        last = store.last(name).record
        store.records.drop(last.key)
        changed = replace(last, key=last.key, seconds=seconds)
        store.keep(replace(changed, outputs={"file": ("0" * 64, 1)}))  # its blob is gone
    started, _ = walked(store, [quick, slow])
    assert started == ["slow", "quick"]


def test_paths_are_as_long_as_their_longest_branch():
    actions = {a.id: a for a in [action("a"), action("b", inputs="a"), action("c", inputs="ab")]}
    assert longest_paths(actions, {"a": 1, "b": 2, "c": 4}) == {"a": 7, "b": 6, "c": 4}


def test_inputs_that_are_done_already_are_no_part_of_a_path(store):
    walked(store, [action("a")])
    started, _ = walked(store, [action("a"), action("b", inputs="a"), action("c", inputs="b")])
    assert started == ["b", "c"]


def test_an_action_comes_up_once_all_its_inputs_are_done():
    actions = {a.id: a for a in [action("a"), action("b"), action("c", inputs="ab")]}
    frontier = Frontier(actions)
    assert [a.id for a in frontier.take()] == ["a", "b"]
    frontier.done("a")
    assert frontier.take() == []
    frontier.done("b")
    assert [a.id for a in frontier.take()] == ["c"]


def test_after_a_reset_everything_below_comes_up_again():
    actions = {a.id: a for a in [action("a"), action("b", inputs="a"), action("c", inputs="b")]}
    frontier = Frontier(actions)
    for id_ in "abc":
        assert [a.id for a in frontier.take()] == [id_]
        frontier.done(id_)
    frontier.reset(["b"], {"a"})
    assert [a.id for a in frontier.take()] == ["b"]
    frontier.done("b")
    assert [a.id for a in frontier.take()] == ["c"]


def test_an_input_that_is_damaged_is_made_again(store):
    actions = [action("a"), action("b", inputs="a"), action("c", inputs="a")]
    digest, _ = store.put(b"a")
    events = []
    started, done = walked(store, actions, {"b": [Damaged(digest)]}, events)
    assert started[:3] == ["a", "b", "a"]
    assert sorted(started[3:]) == ["b", "c"]
    assert set(done) == {"a", "b", "c"}
    assert [e.action for e in events if e.kind == "mend"] == ["a"]


def test_a_store_that_keeps_nothing_is_named_after_a_few_tries(store):
    actions = [action("a"), action("b", inputs="a")]
    digest, _ = store.put(b"a")
    with pytest.raises(WorkFailedError, match="does not keep"):
        walked(store, actions, {"b": [Damaged(digest)] * 9})


def test_what_does_not_depend_on_a_failure_is_still_done(store):
    actions = [action("a"), action("b", inputs="a"), action("c", inputs="b"), action("d")]
    events = []
    with pytest.raises(WorkFailedError, match="no"):
        walked(store, actions, {"a": [WorkFailedError("no")]}, events)
    assert [e.action for e in events if e.kind == "done"] == ["d"]
    assert {e.left for e in events if e.kind == "fail"} == {1}


def test_nothing_is_decided_twice_or_left_out(store):
    actions = [action(f"a{n}", inputs=[f"a{m}" for m in range(n) if m % 3]) for n in range(30)]
    started, done = walked(store, actions)
    assert sorted(started) == sorted(done) == sorted(a.id for a in actions)
    assert walked(store, actions)[0] == []


def local(store, memory, gpus=(), jobs=8, free=None, cores=8):
    class Fixed(Machine):
        def free(self):
            return free if free is not None else memory

    return LocalExecutor(store, jobs, machine=Fixed(memory, gpus, cores))


def test_a_gpu_that_is_not_there_is_an_error_that_says_so(store):
    executor = local(store, GB)
    error = executor.refuse(action("plan", gpus=1))
    assert isinstance(error, MissingError)
    assert error.found == "no GPU"
    assert executor.refuse(action("plain")) is None


def test_a_capability_that_is_not_there_is_an_error_that_names_both(store):
    executor = local(store, GB, (Gpu("8.0"),))
    error = executor.refuse(action("plan", gpus=1, capability="9.0"))
    assert (error.found, error.expected) == ("8.0", "compute capability 9.0")
    assert executor.refuse(action("plan", gpus=1, capability="8.0")) is None


def test_more_memory_than_the_machine_has_is_an_error(store):
    error = local(store, 4 * GB).refuse(action("large", memory=8 * GB))
    assert (error.found, error.expected) == ("4.00 GB", "8.00 GB")
    assert error.exit_code == 3


def test_errors_of_several_actions_are_all_told(store):
    actions = [action("one", memory=10**15), action("two", gpus=99)]
    with pytest.raises(SeveralError) as caught:
        engine.run(
            graph(*actions),
            {},
            store,
            executor=lambda _: local(store, GB),
            say=lambda _: None,
        )
    assert caught.value.exit_code == 3


STAGE = """
    import time
    from pathlib import Path
    def run(job):
        here = Path(job.params["marks"])
        (here / f"{job.params['name']}.on").touch()
        deadline = time.monotonic() + 20
        while not (here / f"{job.params['name']}.go").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (job.out / "file").write_text(job.params["name"])
        return {}
"""


@pytest.fixture
def gated(monkeypatch, tmp_path):
    """A stage whose actions begin and end when the test says so, in real workers."""
    package = tmp_path / "extra" / "builder_stage_gated.py"
    package.parent.mkdir()
    package.write_text(textwrap.dedent(STAGE))
    (package.parent / "sitecustomize.py").write_text(
        "import sys, importlib.abc, importlib.util\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'builder.stages.gated':\n"
        f"            return importlib.util.spec_from_file_location(name, {str(package)!r})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    marks = tmp_path / "marks"
    marks.mkdir()
    return marks


def gate(marks, name, memory):
    return Action(name, "gated", {"marks": str(marks), "name": name}, needs=Needs(memory=memory))


def begun(marks):
    return {p.stem for p in marks.glob("*.on")}


def test_memory_is_never_promised_twice(store, gated):
    sizes = {"a": 6 * GB, "b": 6 * GB, "c": 2 * GB}
    actions = [gate(gated, name, size) for name, size in sizes.items()]
    seen, most = [], []

    def say(event):
        if event.kind == "start":
            seen.append(event.action)
            running = set(seen) - {p.stem for p in gated.glob("*.go")}
            most.append(sum(sizes[name] for name in running))
            if len(running) == 2 or len(seen) == 3:
                (gated / f"{seen[0]}.go").touch()
            if len(seen) == 3:
                for name in sizes:
                    (gated / f"{name}.go").touch()

    executor = local(store, 10 * GB)
    done = engine.run(graph(*actions), {}, store, executor=lambda _: executor, say=say)
    assert set(done) == begun(gated) == set(sizes)
    assert seen[:2] == ["a", "c"]  # b does not fit beside a; c does
    assert max(most) <= 10 * GB


def test_more_jobs_than_cores_are_good_for_start_no_more_workers(store, gated):
    running = []

    def say(event):
        if event.kind == "start":
            running.append(event.lane)
            if len(running) == 2:
                assert not executor.room(gate(gated, "one more", 0))
                for number in range(8):
                    (gated / f"{number}.go").touch()

    executor = local(store, 10 * GB, jobs=50, cores=1)
    actions = [gate(gated, str(number), 0) for number in range(8)]
    engine.run(graph(*actions), {}, store, executor=lambda _: executor, say=say)
    assert set(running) == {"worker 1", "worker 2"}


def test_an_action_that_fits_nowhere_runs_alone_rather_than_never(store, gated):
    for name in "ab":
        (gated / f"{name}.go").touch()
    executor = local(store, 10 * GB, free=1 * GB)
    actions = [gate(gated, name, 6 * GB) for name in "ab"]
    done = engine.run(graph(*actions), {}, store, executor=lambda _: executor, say=lambda _: None)
    assert set(done) == {"a", "b"}
