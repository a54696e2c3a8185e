"""Every mistake that a spec can hold is named with its place, what was found and the fix."""

import pytest
import yaml

from builder.errors import BuilderError, SeveralError
from builder.spec import document
from builder.spec.project import load
from tests.projects import SOURCE, SPEC, ensemble, model


def refused(root):
    with pytest.raises(BuilderError) as caught:
        load(root)
    assert caught.value.exit_code == 2
    return str(caught.value)


def edited(root, old, new, **kwargs):
    assert old in SPEC
    model(root, spec=SPEC.replace(old, new), **kwargs)
    return refused(root)


def test_a_sound_project_is_read(tmp_path):
    model(tmp_path)
    project = load(tmp_path)
    assert project.models["linear"].max_batch == 8
    assert project.models["linear"].served == ("1.0",)


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


def test_missing_spec(tmp_path):
    (model(tmp_path) / "model.yaml").unlink()
    assert "models/linear/model.yaml: file is missing" in refused(tmp_path)


def test_missing_source(tmp_path):
    (model(tmp_path) / "source.py").unlink()
    assert "model.yaml:3: source models/linear/source.py is missing" in refused(tmp_path)


def test_source_that_is_no_python(tmp_path):
    model(tmp_path, source="def load(:\n")
    assert "models/linear/source.py:1: not valid Python" in refused(tmp_path)


def test_missing_function(tmp_path):
    model(tmp_path, source=SOURCE.replace("def samples", "def sample"))
    text = refused(tmp_path)
    assert "has no function `samples`" in text
    assert "did you mean `sample`?" in text


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


def test_missing_weights(tmp_path):
    text = edited(tmp_path, "versions:", "weights: w.safetensors\nversions:")
    assert "weights models/linear/w.safetensors are missing" in text


def test_weights_without_a_pinned_digest(tmp_path):
    folder = model(tmp_path, spec=SPEC.replace("versions:", "weights: w.bin\nversions:"))
    (folder / "w.bin").write_bytes(b"weights")
    assert "expected: weights_sha256: " in refused(tmp_path)


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


def test_no_models(tmp_path):
    (tmp_path / "models").mkdir()
    assert "there are no models" in refused(tmp_path)


ENSEMBLE = """
name: both
version: "1.0"
inputs:  {X: {dtype: float32, shape: [batch, 4]}}
outputs: {Z: {dtype: float32, shape: [batch, 3]}}
steps:
  - {model: first, inputs: {x: X}, outputs: {y: mid}}
  - {model: second, inputs: {x: mid}, outputs: {y: Z}}
"""
SECOND = SPEC.replace("[batch, 4]", "[batch, 3]")


def wired(root, old="", new="", second=SECOND):
    assert old in ENSEMBLE
    model(root, "first")
    model(root, "second", spec=second)
    ensemble(root, "both", ENSEMBLE.replace(old, new, 1) if old else ENSEMBLE)


def test_a_sound_ensemble_is_read(tmp_path):
    wired(tmp_path)
    assert load(tmp_path).interfaces["both"].dims["batch"].max == 8


def test_dangling_wire(tmp_path):
    wired(tmp_path, "x: mid", "x: midd")
    text = refused(tmp_path)
    assert "ensemble.yaml:8: wire `midd` comes from nowhere" in text
    assert "did you mean `mid`?" in text


def test_wire_of_another_dtype(tmp_path):
    wired(tmp_path, second=SECOND.replace("x: {{dtype: float32", "x: {{dtype: float64"))
    text = refused(tmp_path)
    assert "ensemble.yaml:8: dtypes differ along a wire: first.y → second.x" in text
    assert "found:    float32" in text
    assert "expected: float64" in text


def test_wire_of_another_shape(tmp_path):
    wired(tmp_path, second=SPEC)
    text = refused(tmp_path)
    assert "shapes differ along a wire: first.y → second.x, axis 1" in text
    assert "float32 [batch, 3]" in text


def test_member_that_takes_smaller_batches_narrows_the_ensemble(tmp_path):
    wired(tmp_path, second=SECOND.replace("max: 8", "max: 5"))
    assert load(tmp_path).interfaces["both"].dims["batch"].max == 5


def test_unknown_member(tmp_path):
    wired(tmp_path, "model: first", "model: frist")
    text = refused(tmp_path)
    assert "ensemble.yaml:7: no model `frist`" in text
    assert "did you mean `first`?" in text


def test_unknown_port(tmp_path):
    wired(tmp_path, "outputs: {y: mid}", "outputs: {why: mid}")
    assert "first has no output `why`" in refused(tmp_path)


def test_unwired_input(tmp_path):
    spec = SECOND.replace("outputs:", "  extra: {{dtype: int64, shape: [batch, 1]}}\noutputs:")
    wired(tmp_path, second=spec)
    assert "input `extra` of second is not wired" in refused(tmp_path)


def test_unknown_member_version(tmp_path):
    wired(tmp_path, "model: second,", 'model: second, version: "3.0",')
    assert "second serves no version 3.0" in refused(tmp_path)


def test_output_that_nothing_writes(tmp_path):
    wired(tmp_path, "y: Z", "y: ZZ")
    assert "no step writes output `Z`" in refused(tmp_path)


def test_wire_that_nothing_reads(tmp_path):
    spec = SPEC.replace("dims:", "  more: {{dtype: float32, shape: [batch, 3]}}\ndims:")
    wired(tmp_path)
    model(tmp_path, "first", spec=spec)
    load(tmp_path)  # outputs may be left out
    ensemble(tmp_path, "both", ENSEMBLE.replace("y: mid}", "y: mid, more: spare}"))
    assert "nothing reads wire `spare`" in refused(tmp_path)


def test_an_ensemble_that_shows_an_inner_wire_gives_all_its_outputs_or_none(tmp_path):
    wired(tmp_path)
    inner = ENSEMBLE.replace("mid", "M").replace(
        "{Z:", "{M: {dtype: float32, shape: [batch, 3]}, Z:"
    )
    ensemble(tmp_path, "both", inner)
    outer = """
    name: outer
    version: "1.0"
    inputs:  {X: {dtype: float32, shape: [batch, 4]}}
    outputs: {A: {dtype: float32, shape: [batch, 3]}}
    steps:
      - {model: both, inputs: {X: X}, outputs: {Z: A}}
    """
    ensemble(tmp_path, "outer", outer)
    text = refused(tmp_path)
    assert "outputs of both are left out" in text
    assert "wire M too" in text


def test_timeout_where_nothing_queues(tmp_path):
    text = edited(tmp_path, "versions:", "timeout: 5ms\nbatching: false\nversions:")
    assert "wait in no queue" in text


def test_wire_with_two_sources(tmp_path):
    wired(tmp_path, "y: Z", "y: mid")
    assert "wire `mid` has two sources" in refused(tmp_path)


def test_steps_in_a_cycle(tmp_path):
    model(tmp_path, "first", spec=SPEC.replace("[batch, 4]", "[batch, 3]"))
    model(tmp_path, "second", spec=SECOND)
    text = ENSEMBLE.replace("x: X", "x: loop").replace("y: Z}", "y: loop}")
    ensemble(tmp_path, "both", text)
    assert "steps wait for one another in a cycle" in refused(tmp_path)


def test_ensembles_in_a_cycle(tmp_path):
    wired(tmp_path)
    for name, other in (("left", "right"), ("right", "left")):
        text = ENSEMBLE.replace("both", name).replace("model: first", f"model: {other}")
        ensemble(tmp_path, name, text)
    text = refused(tmp_path)
    assert "ensembles contain one another in a cycle" in text
    assert "left → right → left" in text or "right → left → right" in text


def test_two_models_of_one_name(tmp_path):
    wired(tmp_path)
    ensemble(tmp_path, "first", ENSEMBLE.replace("both", "first"))
    text = refused(tmp_path)
    assert "two models are named `first`" in text
    assert "models/first/model.yaml" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'default-targt = "cpu"',
            ["unknown field `default-targt`", "did you mean `default-target`"],
        ),
        ('[tool.triton-builder.targets.cpu]\ndevic = "cpu"', ["targets.cpu.devic`", "`device`"]),
        (
            '[tool.triton-builder.targets.a]\ntriton="24.10"\ndevice="cpu"\nserver="embeded"',
            ["`targets.a.server`", "'embedded'"],
        ),
        (
            '[tool.triton-builder.targets."../../x"]\ntriton="24.10"\ndevice="cpu"',
            ["not a name", "letters, digits"],
        ),
        *(
            (
                (
                    '[tool.triton-builder.targets.a]\ntriton="24.10"\ndevice="gpu"\n'
                    f'server="container"\ntensorrt={{"{option}"=true}}'
                ),
                ["`targets.a.tensorrt`", option, why],
            )
            for option, why in (("strip-weights", "refits none"), ("weight-streaming", "no budget"))
        ),
        (
            (
                '[tool.triton-builder.targets.a]\ntriton="24.10"\ndevice="cpu"\n'
                'onnxruntime={accelerator="tensorrt"}'
            ),
            ["`targets.a`", "onnxruntime.accelerator works on a GPU", "device = gpu"],
        ),
    ],
)
def test_mistakes_in_pyproject_name_the_key(tmp_path, text, words):
    model(tmp_path)
    (tmp_path / "pyproject.toml").write_text(f"[tool.triton-builder]\n{text}\n")
    found = refused(tmp_path)
    assert all(word in found for word in words), found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"tool = 3", "`tool` is no table"),
        (b"[tool]\ntriton-builder = 3", "`triton-builder` is no table"),
        (b"# \xff", "not UTF-8"),
        (b"x = " + b"9" * 5000, "not valid TOML"),
    ],
)
def test_a_pyproject_that_cannot_be_read(tmp_path, content, problem):
    model(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(content)
    assert problem in refused(tmp_path)


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


def test_typo_inside_a_step(tmp_path):
    wired(tmp_path, "outputs: {y: mid}", "output: {y: mid}")
    assert "did you mean `outputs`?" in refused(tmp_path)


def test_a_link_that_leads_nowhere(tmp_path):
    model(tmp_path)
    (tmp_path / "models" / "lost").symlink_to("nowhere")
    (tmp_path / "models" / "loop").symlink_to("loop")
    told = refused(tmp_path)
    assert "models/lost: a link that leads nowhere" in told
    assert "models/loop: a link that leads nowhere" in told


def test_a_release_without_quotes(tmp_path):
    model(tmp_path)
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"24.10"', "24.10"))
    assert "write it in quotes" in refused(tmp_path)


def test_a_digest_that_is_none(tmp_path):
    text = edited(tmp_path, "versions:", "weights_sha256: abc\nversions:")
    assert "text of the form ^[0-9a-f]{64}$" in text


def test_a_spec_that_ends_in_yml(tmp_path):
    folder = model(tmp_path)
    (folder / "model.yaml").rename(folder / "model.yml")
    assert "rename models/linear/model.yml to model.yaml" in refused(tmp_path)


def test_a_name_that_will_not_do(tmp_path):
    assert "`name`: not a name" in edited(tmp_path, "name: {name}", "name: a b")
