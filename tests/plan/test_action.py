"""Keys name what can change an output, and reasons name what did."""

from builder.plan.action import Action, digest, why

ACTION = Action(
    "export m",
    "export",
    {"dims": {"batch": {"max": 32}}},
    {"source.py": "models/m/source.py"},
    {"reference": "reference m"},
    {"torch": "2.13.0"},
)
FILES = {"models/m/source.py": "aa"}
INPUTS = {"reference": "bb"}


def ingredients(files=FILES, inputs=INPUTS, **changes):
    fields = {**ACTION.__dict__, **changes}
    return Action(**fields).ingredients(files, inputs)


def test_the_name_of_an_action_is_not_in_its_key():
    assert digest(ingredients(id="other")) == digest(ingredients())
    assert digest(ingredients(affinity="other")) == digest(ingredients())


def test_everything_else_is():
    changed = [
        ingredients(stage="int8"),
        ingredients(params={}),
        ingredients(tools={"torch": "2.14.0"}),
        ingredients(files={"models/m/source.py": "ab"}),
        ingredients(inputs={"reference": "bc"}),
    ]
    assert len({digest(i) for i in [*changed, ingredients()]}) == 6


def test_a_reason_names_the_file():
    assert why(ingredients(files={"models/m/source.py": "00"}), ingredients()) == (
        "models/m/source.py changed"
    )


def test_a_reason_names_the_tool_with_both_versions():
    assert why(ingredients(tools={"torch": "2.12.0"}), ingredients()) == "torch 2.12.0 → 2.13.0"


def test_a_reason_names_the_field_with_both_values():
    before = ingredients(params={"dims": {"batch": {"max": 16}}})
    assert why(before, ingredients()) == "dims.batch.max 16 → 32"


def test_a_reason_names_the_input():
    assert why(ingredients(inputs={"reference": "00"}), ingredients()) == (
        "output of reference changed"
    )


def test_a_reason_names_what_is_no_longer_used():
    before = ingredients(tools={"torch": "2.13.0", "numpy": "1.26.4"})
    assert why(before, ingredients()) == "numpy no longer used"
