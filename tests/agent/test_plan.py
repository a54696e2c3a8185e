"""What a move has to do, decided without a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.agent import plan as plans
from builder.agent.tree import Model


def model(*numbers, calls=(), other="") -> Model:
    versions = {number: f"{number}{other}" for number in numbers or (1,)}
    served = f"{sorted(versions.items())}{sorted(calls)}"
    return Model(versions, served, pins=frozenset(calls))


ONE = {"m": model(1), "e": model(1, calls=[("m", 1)]), "same": model()}
TWO = {"m": model(2), "e": model(2, calls=[("m", 2)]), "same": model()}


def test_nothing_is_done_for_what_is_served_already():
    assert plans.plan(ONE, [ONE]) == plans.Plan((), {}, (), ())


def test_members_are_loaded_before_those_that_call_them():
    assert plans.plan(TWO, [ONE]).load == ("m", "e")


def test_a_version_that_goes_stays_while_an_ensemble_calls_it():
    assert plans.plan(TWO, [ONE]).kept == {"m": {1}}


def test_a_version_that_goes_and_that_nobody_calls_is_not_kept():
    assert plans.plan({"m": model(2)}, [{"m": model(1)}]).kept == {}


def test_a_version_that_stays_needs_no_keeping():
    target = {"m": model(1, 2), "e": model(2, calls=[("m", 2)])}
    assert plans.plan(target, [ONE]).kept == {}


def test_a_version_is_kept_for_an_ensemble_that_goes():
    assert plans.plan({"m": model(2)}, [ONE]).kept == {"m": {1}}


def test_what_goes_is_unloaded_callers_first():
    assert plans.plan({"same": model()}, [ONE]).gone == ("e", "m")


def test_who_calls_what_changed_is_asked_too():
    served = {"m": model(1), "e": model(1, calls=[("m", 1)]), "o": model(1, calls=[("e", 1)])}
    target = {**served, "m": model(1, other="x")}
    plan = plans.plan(target, [served])
    assert plan.load == ("m",)
    assert plan.asked == ("m", "e", "o")


def test_what_is_asked_otherwise_is_asked():
    target = {**ONE, "same": Model(ONE["same"].versions, ONE["same"].served, probes="others")}
    plan = plans.plan(target, [ONE])
    assert (plan.load, plan.asked) == ((), ("same",))


def test_where_two_releases_may_be_served_all_that_differs_is_loaded():
    plan = plans.plan(ONE, [ONE, TWO])
    assert plan.load == ("m", "e")
    assert plan.kept == {"m": {2}}


def test_an_ensemble_is_tried_with_its_members():
    groups = plans.groups(TWO, {"m", "e", "same"})
    assert sorted(groups) == [["m", "e"], ["same"]]


def test_an_ensemble_of_ensembles_is_one_group():
    models = {**TWO, "o": model(1, calls=[("e", 2), ("same", 1)])}
    assert plans.groups(models, models) == [["m", "same", "e", "o"]] or plans.groups(
        models, models
    ) == [["same", "m", "e", "o"]]


def test_what_is_not_new_is_not_tried():
    assert plans.casting(["m", "e"], TWO, ONE, set()) == {}


def test_a_new_ensemble_is_tried_with_the_members_that_are_not_served():
    assert plans.casting(["m", "e"], TWO, ONE, {("e", 2)}) == {"e": {2}, "m": {2}}


def test_a_new_ensemble_of_members_that_are_served_is_tried_alone():
    models = {"m": model(1, 2), "e": model(2, calls=[("m", 1)])}
    assert plans.casting(["m", "e"], models, ONE, {("e", 2)}) == {"e": {2}}


def test_a_new_version_beside_others_is_tried_alone():
    assert plans.casting(["m"], {"m": model(1, 2)}, ONE, {("m", 2)}) == {"m": {2}}


def test_a_proof_is_of_a_version_its_members_and_the_server():
    proof = plans.proof("2.51", TWO, "e", 2)
    assert proof == plans.proof("2.51", {**TWO, "same": model(5)}, "e", 2)
    assert proof != plans.proof("2.52", TWO, "e", 2)
    assert proof != plans.proof("2.51", {**TWO, "m": model(2, other="x")}, "e", 2)


@st.composite
def releases(draw):
    """Models, some of which call earlier ones."""
    found: dict[str, Model] = {}
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True)):
        calls = {
            (member, draw(st.sampled_from(sorted(found[member].versions))))
            for member in draw(
                st.lists(st.sampled_from(sorted(found)), max_size=2) if found else st.just([])
            )
        }
        numbers = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
        found[name] = model(*numbers, calls=calls)
    return found


@given(releases(), releases())
def test_on_the_way_no_ensemble_ever_lacks_a_member(target, served):
    """As Triton does it: models load one by one, each with all of its versions at once."""
    plan = plans.plan(target, [served])
    loaded = {name: set(model.versions) for name, model in served.items()}
    live = dict(served)

    def sound():
        for name, model in live.items():
            for member, number in model.pins:
                assert number in loaded[member], (name, member, number)

    for name in plan.load:
        loaded[name] = set(target[name].versions) | plan.kept.get(name, set())
        live[name] = target[name]
        sound()
    for name in plan.gone:
        live.pop(name, None)
    for name in plan.kept:
        loaded[name] = set(target[name].versions)
    sound()
    for name in plan.gone:
        loaded.pop(name, None)
    sound()
    assert live == target
    assert loaded == {name: set(model.versions) for name, model in target.items()}
