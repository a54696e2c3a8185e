"""YAML that cannot be read, or does not bear it."""

import pytest
import yaml

from builder.spec import document
from tests.projects import SPEC, model
from tests.spec.mistakes import edited, refused


@pytest.mark.parametrize("loader", [yaml.SafeLoader, document._Loader])
@pytest.mark.parametrize("line", ['config: {{parameters: {{a: "\\ud800"}}}}', '"\\ud83d": 1'])
def test_half_a_character(tmp_path, monkeypatch, loader, line):
    monkeypatch.setattr(document, "_Loader", loader)  # libyaml is not everywhere
    model(tmp_path, spec=SPEC + line + "\n")
    text = refused(tmp_path)
    assert f"model.yaml:{SPEC.count(chr(10)) + 1}: not valid YAML" in text
    text.encode()


def test_not_yaml(tmp_path):
    text = edited(tmp_path, "  x: {{dtype: float32, shape: [batch, 4]}}", "  x: {{dtype: [float32")
    assert "model.yaml:7: not valid YAML" in text


def test_empty_spec(tmp_path):
    model(tmp_path, spec="")
    assert "a spec is a mapping of fields" in refused(tmp_path)


LAUGHS = "config:\n  a0: &a0 [x, x]\n" + "".join(
    f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("config: &a {x: *a}", "nested too deeply"),
        ("config: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("config: " + "[" * 100_000, "nested too deeply"),
        ("instances: " + "9" * 5000, "not a value of YAML's type int"),
        ("instances: !!float abc", "not a value of YAML's type float"),
        ("description: a\x07b", "not valid YAML: a character"),
        ("? [a, b]\n: c", "a key that is no text"),
    ],
)
def test_yaml_that_does_not_bear_reading(tmp_path, line, problem):
    model(tmp_path)
    (tmp_path / "models/linear/model.yaml").write_text(f"name: linear\n{line}\n")
    assert f"models/linear/model.yaml:2: {problem}" in refused(tmp_path)[:300]


def test_aliases_that_multiply(tmp_path):
    model(tmp_path)
    (tmp_path / "models/linear/model.yaml").write_text(LAUGHS)
    assert "unfolds to too much" in refused(tmp_path)
