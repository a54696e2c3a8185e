"""Every mistake in a model's spec is named with its place, what was found and the fix."""

import pytest

from builder.errors import SeveralError
from builder.spec.project import load
from tests.projects import SPEC, model
from tests.spec.mistakes import edited


def test_a_sound_project_is_read(tmp_path):
    model(tmp_path)
    project = load(tmp_path)
    assert project.models["linear"].max_batch == 8
    assert project.models["linear"].served == ("1.0",)


def test_the_name_of_the_manifest_is_the_repositorys_own(tmp_path):
    text = edited(tmp_path, "name: {name}", "name: manifest.json")
    assert "model.yaml:2" in text
    assert "the repository has a file of that name" in text


def test_unknown_key(tmp_path):
    text = edited(tmp_path, "samples: ", "sampels: x.py:y\nsamples: ")
    assert "models/linear/model.yaml:4: unknown field `sampels`" in text
    assert "did you mean `samples`?" in text


def test_unknown_key_inside_a_tensor(tmp_path):
    text = edited(tmp_path, "dtype: float32, shape: [batch, 4]", "dtyp: float32, shape: [batch, 4]")
    assert "model.yaml:6: unknown field `dtyp`" in text
    assert "did you mean `dtype`?" in text
    assert "field `dtype` is missing" in text


def test_wrong_type(tmp_path):
    text = edited(tmp_path, "batch: {{max: 8}}", "batch: {{max: many}}")
    assert "model.yaml:10" in text
    assert "'many'" in text
    assert "integer" in text


def test_unknown_dtype_lists_the_known_ones(tmp_path):
    text = edited(tmp_path, "x: {{dtype: float32", "x: {{dtype: float31")
    assert "model.yaml:6" in text
    assert "'float32'" in text


def test_missing_field(tmp_path):
    text = edited(tmp_path, "source: source.py:load\n", "")
    assert "field `source` is missing" in text


def test_undeclared_dimension(tmp_path):
    text = edited(tmp_path, "shape: [batch, 3]", "shape: [btach, 3]")
    assert "model.yaml:8: dimension `btach` of `y` is not declared" in text
    assert "did you mean `batch`?" in text


def test_unused_dimension(tmp_path):
    text = edited(tmp_path, "batch: {{max: 8}}", "batch: {{max: 8}}\n  width: {{max: 2}}")
    assert "model.yaml:11: dimension `width` is in no shape" in text


def test_dimension_with_min_above_max(tmp_path):
    assert "min 9 is above max 8" in edited(tmp_path, "{{max: 8}}", "{{min: 9, max: 8}}")


def test_name_that_is_not_the_folder(tmp_path):
    assert "a model is named like its folder" in edited(tmp_path, "name: {name}", "name: other")


@pytest.mark.parametrize("version", ["1", "1.2", "1.2.3", "7", "0.1"])
def test_versions_that_are_versions(tmp_path, version):
    model(tmp_path, spec=SPEC.replace('"1.0"', version))
    assert list(load(tmp_path).models["linear"].versions) == [version]


@pytest.mark.parametrize("version", ["one", "1.2.3.4", "1.1000", "0", "-1", "01.2", "1.x"])
def test_version_that_does_not_parse(tmp_path, version):
    text = edited(tmp_path, '"1.0"', f'"{version}"')
    assert "model.yaml:12" in text
    assert "is not a version" in text


def test_a_version_keeps_its_zeros(tmp_path):
    model(tmp_path, spec=SPEC.replace('"1.0"', "1.10"))
    assert list(load(tmp_path).models["linear"].versions) == ["1.10"]


def test_version_declared_twice(tmp_path):
    text = edited(tmp_path, '"1.0": ', '"1.0": {{}}\n  "1.0": ')
    assert "model.yaml:13: `1.0` is declared twice" in text


def test_two_ways_to_write_one_version(tmp_path):
    text = edited(tmp_path, '"1.0": ', '"1.0.0": {{}}\n  "1.0": ')
    assert "version 1.0 is declared twice" in text
    assert "1000000" in text


def test_serving_a_version_that_is_not_there(tmp_path):
    text = edited(tmp_path, "versions:", 'serve: ["2.0"]\nversions:')
    assert "version 2.0 is served but not declared" in text


def test_batch_sizes_beyond_the_maximum(tmp_path):
    text = edited(tmp_path, "versions:", "warmup: [1, 9]\nversions:")
    assert "batch of 9 is outside dims.batch" in text
    assert "1 to 8" in text


def test_bad_duration(tmp_path):
    text = edited(tmp_path, "versions:", "timeout: 5 parsecs\nversions:")
    assert "`timeout`: not a duration" in text
    assert "500us" in text


def test_several_mistakes_are_told_at_once(tmp_path):
    spec = SPEC.replace("samples: ", "sampels: ").replace("[batch, 3]", "[batch, -3]")
    model(tmp_path, spec=spec)
    with pytest.raises(SeveralError) as caught:
        load(tmp_path)
    assert len(caught.value.errors) >= 3
    assert caught.value.exit_code == 2


def test_strings_in_a_torch_model(tmp_path):
    assert "torch has no strings" in edited(tmp_path, "x: {{dtype: float32", "x: {{dtype: string")


def test_timeout_where_nothing_queues(tmp_path):
    text = edited(tmp_path, "versions:", "timeout: 5ms\nbatching: false\nversions:")
    assert "wait in no queue" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("instances: 2147483648", "2147483647"),
        ("warmup: [2147483648]", "2147483647"),
        ("timeout: 99999999999999999999s", "`timeout`: too long"),
    ],
)
def test_numbers_beyond_tritons(tmp_path, line, words):
    assert words in edited(tmp_path, "versions:", f"{line}\nversions:")
    assert "2147483647" in edited(tmp_path, "max: 8", "max: 2147483648")


@pytest.mark.parametrize(
    ("line", "bogus"),
    [("batching: {{prefered: [4]}}", "False"), ("serve: {{lates: 1}}", "'all'")],
)
def test_a_mistake_inside_a_union_is_told_once(tmp_path, line, bogus):
    text = edited(tmp_path, "versions:", f"{line}\nversions:")
    assert "did you mean" in text
    assert f"expected: {bogus}" not in text


def test_a_digest_that_is_none(tmp_path):
    text = edited(tmp_path, "versions:", "weights_sha256: abc\nversions:")
    assert "text of the form ^[0-9a-f]{64}$" in text


def test_a_name_that_will_not_do(tmp_path):
    assert "`name`: not a name" in edited(tmp_path, "name: {name}", "name: a b")
