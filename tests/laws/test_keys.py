"""Keys: equal where nothing that counts differs, unequal where anything does."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from builder.plan.action import Action, Needs, digest, why
from builder.plan.evaluate import Record, ask

TRICKY = st.text(alphabet='",:[]{}\\1ae é', max_size=4)
"""Text that looks like JSON: if anything were joined without care, this would tell."""
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([0.0, -0.0, 1.0, 0.1])
    | st.sampled_from(["1", "true", "null", "1.0", ""])
    | TRICKY
    | st.text(max_size=3)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3),
    max_leaves=6,
)
HEX = st.sampled_from(["aa", "ab", "ba", "bb"])
NAMES = st.sampled_from(["a", "b", "c", "ab", "bc"])
ACTIONS = st.builds(
    Action,
    id=TRICKY,
    stage=NAMES,
    params=st.dictionaries(NAMES, JSON, max_size=3),
    files=st.dictionaries(NAMES, st.just("f") | NAMES, max_size=2),
    inputs=st.dictionaries(NAMES, NAMES, max_size=2),
    tools=st.dictionaries(NAMES, HEX, max_size=2),
    affinity=TRICKY,
)
DIGESTS = st.fixed_dictionaries(dict.fromkeys(("a", "b", "c", "ab", "bc", "f"), HEX))


def exact(value):
    """A value with its types, so that `==` does not take 1 for 1.0 or True."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value).__name__, repr(value)


def turned(value):
    """The same with all mappings in the other order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(item) for item in value] if isinstance(value, list) else value


def parsed(leaf):
    try:
        return json.loads(leaf)
    except (TypeError, ValueError):
        return leaf


CONFUSIONS = (
    json.dumps,
    str,
    parsed,
    lambda leaf: float(leaf) if isinstance(leaf, int) else leaf,
    lambda leaf: int(leaf) if isinstance(leaf, bool | float) else leaf,
    lambda leaf: leaf or None,
    lambda leaf: leaf.strip() if isinstance(leaf, str) else leaf,
    None,
)


def confused(value, change):
    """The value with every leaf changed."""
    if isinstance(value, dict):
        return {key: confused(item, change) for key, item in value.items()}
    return [confused(item, change) for item in value] if isinstance(value, list) else change(value)


def made_of(action, files, outputs):
    """Everything that counts of an action, in no particular form."""
    return [
        action.stage,
        exact(action.params),
        {role: (path, files[path]) for role, path in action.files.items()},
        {label: outputs[id_] for label, id_ in action.inputs.items()},
        dict(action.tools),
    ]


def asked(action, files, outputs):
    """An action's question, its inputs having come out with these digests."""
    done = {id_: Record("", {"out": (sha, 1)}, {}, {}, {}) for id_, sha in outputs.items()}
    return ask(action, files, done)


@given(JSON)
def test_the_order_of_mappings_is_not_in_a_digest(value):
    assert digest(turned(value)) == digest(value)


@st.composite
def pairs(draw):
    """Two values; mostly the second is the first with something taken for something alike."""
    value = draw(JSON)
    confusion = draw(st.sampled_from(CONFUSIONS))
    return value, draw(JSON) if confusion is None else confused(value, confusion)


@given(pairs())
def test_a_digest_is_a_value_s_own(pair):
    one, other = pair
    assert (digest(one) == digest(other)) == (exact(one) == exact(other))


@given(JSON)
def test_what_wraps_a_value_is_in_its_digest(value):
    kin = [value, [value], [[value]], {"": value}, [value, value], [value, []], str(value), [None]]
    different = [k for i, k in enumerate(kin) if all(exact(k) != exact(o) for o in kin[:i])]
    assert len({digest(k) for k in different}) == len(different)


@given(ACTIONS, DIGESTS, DIGESTS, TRICKY, TRICKY)
def test_names_needs_and_affinity_are_in_no_key(action, files, outputs, name, affinity):
    other = replace(action, id=name, affinity=affinity, needs=Needs(memory=1, gpus=1))
    assert asked(other, files, outputs).key == asked(action, files, outputs).key


@given(ACTIONS, DIGESTS, DIGESTS)
def test_files_and_inputs_that_an_action_does_not_name_are_in_no_key(action, files, outputs):
    key = asked(action, files, outputs).key
    assert asked(action, {**files, "more": "aa"}, {**outputs, "more": "aa"}).key == key
    own = {path: files[path] for path in action.files.values()}
    assert asked(action, own, outputs).key == key


@given(ACTIONS, DIGESTS, DIGESTS)
def test_what_an_input_is_called_is_in_no_key(action, files, outputs):
    other = replace(action, inputs={label: f"the {id_}" for label, id_ in action.inputs.items()})
    renamed = {f"the {id_}": sha for id_, sha in outputs.items()}
    assert asked(other, files, renamed).key == asked(action, files, outputs).key


@given(ACTIONS, DIGESTS, DIGESTS, st.data())
def test_whatever_counts_changes_the_key(action, files, outputs, data):
    part = data.draw(st.sampled_from(["stage", "params", "tools", "files", "inputs"]))
    new = {
        "stage": "another",
        "params": {**action.params, "a": data.draw(JSON)},
        "tools": {**action.tools, "a": "cc"},
        "files": {**action.files, "a": "ab"},
        "inputs": {**action.inputs, "a": "ab"},
    }[part]
    other = replace(action, **{part: new})
    same = made_of(action, files, outputs) == made_of(other, files, outputs)
    assert (asked(other, files, outputs).key == asked(action, files, outputs).key) == same


@given(ACTIONS, DIGESTS, DIGESTS, st.data())
def test_another_digest_changes_the_key(action, files, outputs, data):
    used = [*action.files.values(), *action.inputs.values()]
    if not used:
        return
    name = data.draw(st.sampled_from(used))
    key = asked(action, files, outputs).key
    found = {
        asked(action, {**files, name: "cc"}, outputs).key if name in action.files.values() else "",
        asked(action, files, {**outputs, name: "cc"}).key if name in action.inputs.values() else "",
    }
    assert key not in found


PARTS = st.dictionaries(st.sampled_from(["X1", "X2", "X3"]), HEX, max_size=3)
INGREDIENTS = st.fixed_dictionaries(
    {
        "stage": st.just("s"),
        "params": PARTS,
        "tools": PARTS,
        "inputs": PARTS,
        "files": PARTS.map(lambda part: {n: [f"{n}.py", sha] for n, sha in part.items()}),
    }
)


@given(INGREDIENTS, INGREDIENTS)
def test_a_reason_names_all_that_changed_and_nothing_else(before, now):
    changed = {
        name
        for part in ("params", "tools", "inputs", "files")
        for name in before[part].keys() | now[part].keys()
        if before[part].get(name) != now[part].get(name)
    }
    reason = why(before, now)
    assert {name for name in ("X1", "X2", "X3") if name in reason} == changed
    assert "\n" not in reason
