"""What runs of a graph: what changed and what depends on it, as far as outputs come out new."""

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from builder.plan.action import Action
from builder.plan.evaluate import Last, Record, evaluate
from builder.plan.frontier import Frontier, longest_paths
from builder.plan.graph import Graph


@dataclass
class Remembered:
    """What was built, in a dictionary."""

    records: dict = field(default_factory=dict)
    runs: dict = field(default_factory=dict)

    def expect(self, keys):
        assert len(set(keys)) <= len(list(keys))

    def find(self, key):
        return self.records.get(key)

    def last(self, action):
        key = self.runs.get(action)
        return Last(key, self.records.get(key)) if key else None

    def stale(self, key):
        return None


@st.composite
def graphs(draw):
    """Actions by id, inputs first. A `blunt` one gives the same whatever it is made of."""
    count = draw(st.integers(1, 9))
    actions = {}
    for number in range(count):
        above = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        blunt = draw(st.booleans())
        actions[f"a{number}"] = Action(
            id=f"a{number}",
            stage="s",
            params={"number": number, "value": 0, "blunt": blunt},
            inputs={f"{what} {n}": f"a{n}" for n in sorted(above) for what in ("from", "and")},
        )
    return actions


@st.composite
def changed(draw):
    """A graph, and the ids of the actions that are changed."""
    actions = draw(graphs())
    return actions, draw(st.sets(st.sampled_from(list(actions))))


def bumped(actions, ids):
    return {
        id_: replace(a, params={**a.params, "value": a.params["value"] + (id_ in ids)})
        for id_, a in actions.items()
    }


def done(question):
    """The result of an action: of what it is made of, or always the same."""
    params = question.action.params
    made_of = (params["value"], sorted(question.ingredients["inputs"].items()))
    content = params["number"] if params["blunt"] else (params["number"], made_of)
    outputs = {"out": (str(content), 1)}
    return Record(question.key, outputs, {}, {}, question.ingredients)


def build(actions, memory, pick=lambda found: found):
    """Does what is missing until nothing is; gives the ids of what ran."""
    ran = []
    while True:
        decisions = evaluate(Graph(actions, {}), {}, memory)
        todo = [d.question for d in decisions if not d.hit and d.question]
        if not todo:
            assert all(d.hit for d in decisions)
            return ran
        for question in pick(todo):
            assert question.action.id not in ran, "it ran already"
            memory.records[question.key] = done(question)
            memory.runs[question.action.id] = question.key
            ran.append(question.action.id)


def must_run(actions, ids):
    """What depends on a change, cut off below what comes out as it was."""
    running, new = set(), set()
    for id_, action in actions.items():
        if id_ in ids or new & set(action.inputs.values()):
            running.add(id_)
            if not action.params["blunt"]:
                new.add(id_)
    return running


def below(actions, ids):
    """These and all that depend on them."""
    found = set(ids)
    for id_, action in actions.items():
        if found & set(action.inputs.values()):
            found.add(id_)
    return found


@given(changed())
def test_what_runs_is_what_changed_and_what_that_changed(drawn):
    actions, ids = drawn
    memory = Remembered()
    assert sorted(build(actions, memory)) == sorted(actions)
    assert sorted(build(bumped(actions, ids), memory)) == sorted(must_run(actions, ids))


@given(changed())
def test_a_second_evaluation_finds_everything(drawn):
    actions, ids = drawn
    memory = Remembered()
    build(actions, memory)
    build(bumped(actions, ids), memory)
    assert build(bumped(actions, ids), memory) == []
    assert build(actions, memory) == []


@given(changed(), st.randoms(use_true_random=False))
def test_the_order_of_evaluation_does_not_matter(drawn, random):
    actions, ids = drawn
    memory, other = Remembered(), Remembered()
    build(actions, memory)
    shuffled = list(actions.items())
    random.shuffle(shuffled)
    build(dict(shuffled), other, pick=lambda todo: [random.choice(todo)])
    assert other.records == memory.records
    now = bumped(actions, ids)
    turned = {id_: now[id_] for id_, _ in shuffled}
    straight = {d.action.id: d for d in evaluate(Graph(now, {}), {}, memory)}
    assert {d.action.id: d for d in evaluate(Graph(turned, {}), {}, other)} == straight


@given(changed())
def test_what_waits_says_for_what(drawn):
    actions, ids = drawn
    memory = Remembered()
    build(actions, memory)
    decisions = {d.action.id: d for d in evaluate(Graph(bumped(actions, ids), {}), {}, memory)}
    for decision in decisions.values():
        missing = [
            n for n in dict.fromkeys(decision.action.inputs.values()) if not decisions[n].hit
        ]
        assert (decision.question is None) == bool(missing)
        if missing:
            assert decision.reason == f"waits for {', '.join(missing)}"
        elif not decision.hit:
            assert decision.reason == "value 0 → 1"


@given(changed(), st.randoms(use_true_random=False))
def test_a_failure_stops_what_depends_on_it_and_nothing_else(drawn, random):
    actions, failing = drawn
    frontier, ran = Frontier(actions), []
    ready = frontier.take()
    while ready:
        action = ready.pop(random.randrange(len(ready)))
        assert set(action.inputs.values()) <= set(ran) - failing
        ran.append(action.id)
        if action.id not in failing:
            frontier.done(action.id)
        ready += frontier.take()
    stopped = below(actions, failing) - failing
    stopped |= {id_ for id_ in failing if set(actions[id_].inputs.values()) & (stopped | failing)}
    assert len(ran) == len(set(ran))
    assert set(ran) == set(actions) - stopped
    assert frontier.below(failing) == below(actions, failing)


@given(changed(), st.randoms(use_true_random=False))
def test_what_is_started_anew_comes_up_again_with_all_below_it(drawn, random):
    actions, anew = drawn
    frontier, finished, ready = Frontier(actions), set(), []
    stop = random.randrange(len(actions) + 1)
    while len(finished) < stop:
        ready += frontier.take()
        action = ready.pop(random.randrange(len(ready)))
        frontier.done(action.id)
        finished.add(action.id)
    again = below(actions, anew)
    ready = [a for a in ready if a.id not in again]
    frontier.reset(anew, finished)
    finished -= again
    came = []
    ready += frontier.take()
    while ready:
        action = ready.pop(random.randrange(len(ready)))
        assert set(action.inputs.values()) <= finished
        came.append(action.id)
        finished.add(action.id)
        frontier.done(action.id)
        ready += frontier.take()
    assert len(came) == len(set(came))
    assert finished == set(actions)


@given(graphs(), st.lists(st.integers(0, 5), min_size=9, max_size=9))
def test_the_longest_path_is_the_longest(actions, numbers):
    seconds = dict(zip(actions, map(float, numbers), strict=False))

    def longest(id_):
        after = [n for n, a in actions.items() if id_ in a.inputs.values()]
        return seconds[id_] + max((longest(n) for n in after), default=0.0)

    assert longest_paths(actions, seconds) == {id_: longest(id_) for id_ in actions}
