"""config.pbtxt as text, held against protobuf's own reading of it."""

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from builder.triton import text
from builder.triton.config import Warmup, model_config, proto, render

STEPS = [
    {"model": "a", "version": 3, "inputs": {"x": "X"}, "outputs": {"y": "wire"}},
    {"model": "b", "version": 1002000, "inputs": {"x": "wire"}, "outputs": {"y": "Y"}},
]
MODEL = {
    "name": "m",
    "backend": "python",
    "max_batch_size": 8,
    "inputs": {"x": {"dtype": "int64", "shape": ["batch", "n", 3]}},
    "outputs": {"y": {"dtype": "string", "shape": ["batch", 1]}},
    "versions": [1, 1002000],
    "latest": None,
    "batching": {"preferred": [4, 8], "max_queue_delay": 2000, "max_queue_size": 0},
    "timeout_us": 500_000,
    "instances": 1,
    "kind": "KIND_CPU",
    "warmup": [],
    "config": {"parameters": {"k": {"string_value": 'é "quoted" \\ and\nlines'}}},
    "where": "",
}


def model(**changes) -> str:
    warmups = [Warmup(f"w{n}", n, {"x": ("int64", [5, 3], "x.bin")}) for n in (1, 8)]
    return render(model_config({**MODEL, **changes}, warmups))


def ensemble() -> str:
    return render(model_config({**MODEL, "steps": STEPS, "config": {}}))


def parsed(written: str):
    return text_format.Parse(written, proto().ModelConfig())


def test_scalars_lists_and_messages_are_read():
    found = text.read(model())
    assert found.text("name") == "m"
    assert found.text("max_batch_size") == "8"
    assert found.text("no_such_field", "nothing") == "nothing"
    (entry,) = found.all("input")
    assert [str(d) for d in entry.all("dims")] == ["-1", "3"]
    assert entry.text("data_type") == "TYPE_INT64"
    assert [w.text("name") for w in found.all("model_warmup")] == ["w1", "w8"]


def test_strings_are_what_protobuf_reads():
    (parameter,) = text.read(model()).all("parameters")
    value = parameter.first("value")
    assert value.text("string_value") == MODEL["config"]["parameters"]["k"]["string_value"]


@given(st.text())
def test_any_string_is_what_protobuf_reads(name):
    config = proto().ModelConfig(name=name)
    for as_utf8 in (False, True):
        written = text_format.MessageToString(config, as_utf8=as_utf8)
        assert text.read(written).text("name") == name


@pytest.mark.parametrize(
    "written",
    [
        'name: "a" "b"',
        "input <name: 'x'; dims: 1, dims: 2>",
        "dims: []",
        "# a comment\nname: 'm' # and another",
        "input { }",
        "input: { name: 'x' }",
    ],
)
def test_other_ways_to_write_it_are_read(written):
    assert text.read(written)


@pytest.mark.parametrize(
    "written", ["name", "name:", "input {", "dims: [1", "}", "name: }", "$", '"name": 1', 'n: "a']
)
def test_what_is_none_is_refused(written):
    with pytest.raises(ValueError, match=r"where|missing|no part|ends nothing"):
        text.read(written)


def test_an_ensembles_pins_are_its_steps():
    assert text.pins(ensemble()) == {("a", 3), ("b", 1002000)}
    assert text.pins(model()) == frozenset()


def test_what_versions_share_is_all_but_which_are_served():
    assert text.shared(model(versions=[1])) == text.shared(model(versions=[1, 2]))
    assert text.shared(model(latest=2)) == text.shared(model())
    assert text.shared(model(instances=2)) != text.shared(model())


@pytest.mark.parametrize("policy", [{}, {"latest": 2}])
def test_a_config_can_keep_other_versions(policy):
    before, after = parsed(model(**policy)), parsed(text.keeping(model(**policy), [1, 2]))
    assert list(after.version_policy.specific.versions) == [1, 2]
    before.ClearField("version_policy")
    after.ClearField("version_policy")
    assert before == after


def test_another_name_is_all_that_changes_but_versions_and_warmup():
    before, after = parsed(model()), parsed(text.renamed(model(), "other", [7]))
    assert after.name == "other"
    assert list(after.version_policy.specific.versions) == [7]
    assert not after.model_warmup
    for field in ("name", "version_policy", "model_warmup"):
        before.ClearField(field)
        after.ClearField(field)
    assert before == after


def test_members_get_their_other_names():
    after = parsed(text.renamed(ensemble(), "other", [1], {"b": "b2"}))
    assert [s.model_name for s in after.ensemble_scheduling.step] == ["a", "b2"]
    assert [s.model_version for s in after.ensemble_scheduling.step] == [3, 1002000]


def test_other_things_of_that_name_are_left_alone():
    written = 'input { name: "name" }\nname: "m"\nversion_policy { latest { num_versions: 1 } }\n'
    after = parsed(text.renamed(written, "other", [1]))
    assert after.input[0].name == "name"
