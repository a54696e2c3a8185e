"""Two texts that say the same are one spec, and have one set of keys."""

import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.plan.evaluate import Record, ask
from builder.plan.graph import graph
from builder.plan.toolchain import TOOLS, Toolchain
from builder.spec.model import ModelSpec
from builder.spec.project import load
from tests.projects import SOURCE, TARGET

TOOLCHAIN = Toolchain("3.11", {"torch": "2.13.0"}, dict.fromkeys(TOOLS, "code"), {"ort": "1"})
BOUNDS = st.fixed_dictionaries(
    {},
    optional={
        "cosine": st.floats(-1, 1),
        "relative": st.floats(0, 1e6),
        "mismatch": st.sampled_from([0, 0.5, 1, 1e-3]),
    },
)
TOLERANCES = st.builds(
    lambda bounds, outputs: {**bounds, "outputs": outputs},
    BOUNDS,
    st.dictionaries(st.just("y"), BOUNDS),
)
DURATIONS = st.builds(
    "{}{}{}".format, st.integers(0, 5000), st.just(""), st.sampled_from(["us", "ms", "s", "m"])
)
VERSIONS = st.dictionaries(
    st.sampled_from(["1.0", "1.1", "2.10", "7", "3.0.1"]),
    st.fixed_dictionaries(
        {},
        optional={
            "precision": st.sampled_from(["fp32", "int8"]),
            "recipe": st.sampled_from(["default", "accurate"]),
            "tolerance": TOLERANCES,
        },
    ),
    min_size=1,
)
MODELS = st.fixed_dictionaries(
    {
        "name": st.just("linear"),
        "source": st.just("source.py:load"),
        "samples": st.just("source.py:samples"),
        "inputs": st.just({"x": {"dtype": "float32", "shape": ["batch", 4]}}),
        "outputs": st.just({"y": {"dtype": "float32", "shape": ["batch", 3]}}),
        "dims": st.builds(lambda n: {"batch": {"max": n}}, st.integers(8, 2**31 - 1)),
        "versions": VERSIONS,
    },
    optional={
        "description": st.text(alphabet="aé:#-'\"{}[]\n\t ", max_size=12),
        "task": st.sampled_from(["text", "no", "1.0", "on", "null", "~", "other"]),
        "requires": st.lists(st.sampled_from(["numpy", "1", "yes"]), max_size=2),
        "tolerance": TOLERANCES,
        "batching": st.fixed_dictionaries(
            {},
            optional={
                "preferred": st.lists(st.integers(1, 8), max_size=3),
                "max_queue_delay": DURATIONS,
                "max_queue_size": st.integers(0, 9),
            },
        ),
        "timeout": DURATIONS,
        "warmup": st.lists(st.integers(1, 8), max_size=3),
        "slo": st.fixed_dictionaries({"p99": DURATIONS}),
        "config": st.fixed_dictionaries(
            {"parameters": st.dictionaries(st.text("ab", min_size=1), st.text("1é:", max_size=3))}
        ),
    },
)
UNORDERED = ("inputs", "outputs")
"""Mappings whose order says something are left as they are."""


def turned(value, key=""):
    if isinstance(value, dict):
        names = list(value) if key in UNORDERED else list(reversed(value))
        return {name: turned(value[name], name) for name in names}
    return [turned(item) for item in value] if isinstance(value, list) else value


def block(spec):
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)


def flow(spec):
    text = yaml.safe_dump(
        turned(spec), sort_keys=False, default_flow_style=True, default_style='"', width=40
    )
    return f"# a comment\n\n{unquoted(text)}\n# another\n"


def unquoted(text):
    """`"batch": !!int "8"` as people write it."""
    for tag in ("!!int ", "!!float ", "!!null ", "!!bool "):
        while tag in text:
            before, _, after = text.partition(tag)
            value, _, rest = after.removeprefix('"').partition('"')
            text = before + value + rest
    return text


def project(root, text):
    folder = root / "models" / "linear"
    folder.mkdir(parents=True)
    (root / "pyproject.toml").write_text(TARGET)
    (folder / "model.yaml").write_text(text)
    (folder / "source.py").write_text(SOURCE)
    return load(root)


def keys(spec):
    """Key by action, all inputs having come out as `in`."""
    _, target = spec.target(None)
    actions = graph(spec, target, TOOLCHAIN, {"linear"}).actions
    files = {path: "aa" for a in actions.values() for path in a.files.values()}
    done = {id_: Record("", {"in": (id_, 1)}, {}, {}, {}) for id_ in actions}
    return {id_: ask(action, files, done).key for id_, action in actions.items()}


@given(MODELS)
@settings(max_examples=60, deadline=None)
def test_how_a_spec_is_written_is_in_no_key(spec):
    with tempfile.TemporaryDirectory() as name:
        one = project(Path(name, "one"), block(spec))
        other = project(Path(name, "other"), flow(spec))
    assert one.models == other.models
    assert keys(one) == keys(other)


@given(MODELS)
@settings(max_examples=60, deadline=None)
def test_a_spec_is_what_its_text_says(spec):
    with tempfile.TemporaryDirectory() as name:
        read = project(Path(name), block(spec)).models["linear"]
    assert read == ModelSpec.model_validate(spec)
    assert set(read.versions) == set(spec["versions"])
