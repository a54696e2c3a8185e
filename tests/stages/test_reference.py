"""The stage `reference`: goldens of torch models, Python models and ensembles, and its refusals."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pytest

from builder.errors import InputError
from builder.stages import goldens, reference
from builder.stages.job import Job

if TYPE_CHECKING:
    from pathlib import Path

SPEC = {
    "source": "models/x/source.py:load",
    "samples": "models/x/source.py:samples",
    "version": None,
    "weights": None,
    "inputs": {"x": {"dtype": "float32", "shape": ["batch", 2]}},
    "outputs": {"y": {"dtype": "float32", "shape": ["batch", 2]}},
    "dims": {"batch": {"min": 1, "max": 4}},
}
SAMPLES = "[{'x': np.ones((2, 2), np.float32)}]"


def answer(tmp_path: Path, text: str, **changes: object) -> tuple[list[goldens.Golden], dict]:
    folder = tmp_path / "models/x"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.py").write_text(textwrap.dedent(text))
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    facts = reference.run(Job({**SPEC, **changes}, {}, tmp_path, out, "x 1.0: reference"))
    return goldens.read(out / goldens.FILE), facts


def torch_model(forward: str, samples: str = SAMPLES, signature: str = "self, x") -> str:
    return (
        "import numpy as np, torch, dataclasses, collections\n"
        "class M(torch.nn.Module):\n"
        f"    def forward({signature}):\n"
        f"        {forward}\n"
        "def load():\n    return M()\n"
        f"def samples():\n    return {samples}\n"
    )


def refused(tmp_path: Path, text: str, **changes: object) -> InputError:
    with pytest.raises(InputError) as caught:
        answer(tmp_path, text, **changes)
    return caught.value


@pytest.mark.export
@pytest.mark.parametrize(
    "forward",
    [
        "return x * 2",
        "return (x * 2,)",
        "return [x * 2]",
        "return {'z': x, 'y': x * 2}",
        "return collections.namedtuple('N', 'a y')(x, x * 2)",
        "return dataclasses.make_dataclass('D', ['y', 'n'])(x * 2, None)",
        "return {'other': x * 2, 'none': None}",
    ],
)
def test_an_answer_of_any_form_is_matched(tmp_path, forward):
    found, facts = answer(tmp_path, torch_model(forward))
    assert facts["samples"] == 1
    assert facts["reads"] == ["models/x/source.py", "distribution:numpy", "distribution:torch"]
    assert np.array_equal(found[0].outputs["y"], np.full((2, 2), 2, np.float32))


@pytest.mark.export
def test_inputs_go_by_name_where_forward_has_the_names_else_by_order(tmp_path):
    inputs = {n: {"dtype": "float32", "shape": ["batch", 2]} for n in ("a", "b")}
    samples = "[{'a': np.full((1, 2), 5, np.float32), 'b': np.ones((1, 2), np.float32)}]"
    by_name = torch_model("return a - b", samples, "self, b, a")
    by_order = torch_model("return p - q", samples, "self, p, q")
    for text in (by_name, by_order):
        found, _ = answer(tmp_path, text, inputs=inputs)
        assert found[0].outputs["y"].tolist() == [[4, 4]]


@pytest.mark.export
def test_a_note_of_the_model_becomes_a_fact(tmp_path):
    text = torch_model("return x").replace(
        "M()", "setattr(M, 'triton_builder_note', 'untrained weights') or M()"
    )
    assert answer(tmp_path, text)[1]["note"] == "untrained weights"


@pytest.mark.parametrize(
    ("samples", "problem", "found"),
    [
        ("[]", "returned no samples", "an empty list"),
        ("None", "returned no samples", "NoneType"),
        ("[3]", "sample 0 is no dict", "int"),
        ("[{}]", "sample 0 input `x` is missing", "nothing"),
        ("[{'x': np.ones((1, 2), np.float32), 'z': 1}]", "`z` is not in the spec", "x, z"),
        ("[{'x': [[1.0, 2.0]]}]", "is no numpy array", "list"),
        ("[{'x': np.ones((1, 2))}]", "has the wrong dtype", "float64"),
        ("[{'x': np.ones(2, np.float32)}]", "has 1 dimensions where the spec has 2", "[2]"),
        ("[{'x': np.ones((1, 3), np.float32)}]", "has size 3 on axis 1", "[1, 3]"),
        ("[{'x': np.ones((9, 2), np.float32)}]", "outside the bounds of `dims`", "[9, 2]"),
    ],
)
def test_bad_samples_are_refused_at_their_function(tmp_path, samples, problem, found):
    text = f"import numpy as np\ndef samples():\n    return {samples}\ndef load(): ...\n"
    error = refused(tmp_path, text)
    assert problem in error.problem
    assert error.found == found
    assert error.where == "models/x/source.py:2"


def test_named_dimensions_must_agree_within_a_sample(tmp_path):
    inputs = {n: {"dtype": "float32", "shape": ["batch"]} for n in ("a", "b")}
    samples = "[{'a': np.ones(1, 'f4'), 'b': np.ones(2, 'f4')}]"
    text = f"import numpy as np\ndef samples():\n    return {samples}\n"
    assert (
        "batch = 2 where another array of the sample has 1"
        in refused(tmp_path, text, inputs=inputs).problem
    )


@pytest.mark.export
@pytest.mark.parametrize(
    ("forward", "problem", "where"),
    [
        ("return x, x", "returns 2 outputs where the spec has 1", "models/x/model.yaml outputs"),
        ("return 3", "returns 0 outputs", "models/x/model.yaml outputs"),
        ("return x.double()", "has the wrong dtype", "models/x/model.yaml outputs.y"),
        ("return x[:, :1]", "has size 1 on axis 1", "models/x/model.yaml outputs.y"),
        ("return x[:1]", "batch = 1 where", "models/x/model.yaml outputs.y"),
        ("return x / 0 * 0", "is NaN for finite inputs", "models/x/model.yaml outputs.y"),
        ("raise KeyError('k')", "raised KeyError while running", "models/x/source.py:4"),
    ],
)
def test_bad_answers_are_refused_where_they_come_from(tmp_path, forward, problem, where):
    error = refused(tmp_path, torch_model(forward))
    assert problem in error.problem
    assert "sample 0" in error.problem
    assert error.where == where


@pytest.mark.export
@pytest.mark.parametrize("chance", ["torch.rand(2)", "torch.dropout(x, 0.5, True)"])
def test_a_model_that_answers_by_chance_is_refused(tmp_path, chance):
    error = refused(tmp_path, torch_model(f"return x + {chance}"))
    assert error.problem == "the model answers differently each time"
    assert "sample 0, asked twice" in error.found
    assert error.where == "models/x/model.yaml outputs.y"


PYTHON = """
import numpy as np
def samples():
    return [{"text": np.array([["a"], ["é"]])}, {"text": np.array([["ccc"]], object)}]
def reference(inputs):
    texts = inputs["text"]
    return {"size": np.array([[len(t) for t in row] for row in texts], np.int64), "same": texts}
"""
TEXT = {"dtype": "string", "shape": ["batch", 1]}
PYTHON_SPEC = {
    "source": None,
    "reference": "models/x/source.py:reference",
    "inputs": {"text": TEXT},
    "outputs": {"size": {"dtype": "int64", "shape": ["batch", 1]}, "same": TEXT},
}


def test_a_python_model_is_answered_by_its_function_and_sees_bytes(tmp_path):
    found, facts = answer(tmp_path, PYTHON, **PYTHON_SPEC)
    assert facts["samples"] == 2
    assert found[0].outputs["size"].tolist() == [[1], [2]]
    assert found[0].outputs["same"].tolist() == [[b"a"], ["é".encode()]]


@pytest.mark.export
def test_an_ensemble_is_its_members_wired_over_merged_samples(tmp_path):
    text = torch_model("return x * 2", "[{'x': np.full((2, 1), 9, np.int64)}]") + PYTHON.replace(
        "def samples", "def texts"
    )
    number = {"dtype": "int64", "shape": ["batch", 1]}
    double = {**SPEC, "inputs": {"x": number}, "outputs": {"y": number}}
    steps = [
        {
            "reference": {**SPEC, **PYTHON_SPEC, "samples": "models/x/source.py:texts"},
            "inputs": {"text": "TEXT"},
            "outputs": {"size": "sizes"},
        },
        {"reference": double, "inputs": {"x": "sizes"}, "outputs": {"y": "TWICE"}},
        {"reference": double, "inputs": {"x": "NUMBER"}, "outputs": {"y": "OTHER"}},
    ]
    found, facts = answer(
        tmp_path,
        text,
        source=None,
        steps=steps,
        samples=[
            {"samples": "models/x/source.py:texts", "inputs": {"TEXT": "text"}},
            {"samples": "models/x/source.py:samples", "inputs": {"NUMBER": "x"}},
        ],
        inputs={"TEXT": TEXT, "NUMBER": number},
        outputs={"TWICE": number, "OTHER": number},
    )
    assert facts["samples"] == 1
    assert found[0].outputs["TWICE"].tolist() == [[2], [4]]
    assert found[0].outputs["OTHER"].tolist() == [[18], [18]]
