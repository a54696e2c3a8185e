"""Every mistake that an ensemble can hold: wires, members, steps."""

from builder.spec.project import load
from tests.projects import SPEC, ensemble, model
from tests.spec.mistakes import refused

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


def test_typo_inside_a_step(tmp_path):
    wired(tmp_path, "outputs: {y: mid}", "output: {y: mid}")
    assert "did you mean `outputs`?" in refused(tmp_path)
