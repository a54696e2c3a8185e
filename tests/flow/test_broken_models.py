"""Mistakes that only show when a model runs: one build meets them all and names each."""

import pytest

from builder.errors import BuilderError, SeveralError
from builder.flow.build import Options, build
from builder.flow.context import context
from tests.projects import SOURCE, SPEC, echo, model

pytestmark = pytest.mark.export

FORWARD = "return self.inner(x)"
SAMPLES = 'return [{"x": rng.normal(size=(n, 4)).astype(np.float32)} for n in (1, 2, 3)]'

BROKEN = {
    "raises_on_load": (SPEC, SOURCE.replace("return Linear()", "return Linear() / 0")),
    "raises_in_forward": (SPEC, SOURCE.replace(FORWARD, "raise RuntimeError('no way')")),
    "no_module": (SPEC, SOURCE.replace("return Linear()", "return 7")),
    "missing_package": (SPEC, "import no_such_package\n" + SOURCE),
    "sample_shape": (SPEC, SOURCE.replace("size=(n, 4)", "size=(n, 5)")),
    "sample_dtype": (SPEC, SOURCE.replace("np.float32", "np.float64")),
    "sample_name": (SPEC, SOURCE.replace('{"x":', '{"z":')),
    "sample_batch": (SPEC, SOURCE.replace("(1, 2, 3)", "(1, 9)")),
    "no_samples": (SPEC, SOURCE.replace(SAMPLES, "return []")),
    "output_dtype": (SPEC.replace("y: {{dtype: float32", "y: {{dtype: int64"), SOURCE),
    "output_shape": (SPEC.replace("[batch, 3]", "[batch, 2]"), SOURCE),
    "output_name": (SPEC, SOURCE.replace(FORWARD, "return {'logits': self.inner(x), 'z': x}")),
    "output_count": (SPEC, SOURCE.replace(FORWARD, "return self.inner(x), x")),
    "specialised": (
        SPEC,
        SOURCE.replace(
            FORWARD, "return self.inner(x) * torch.ones(int(x.shape[0]), 1).numpy()[0]"
        ).replace("* torch.ones(int(x.shape[0]), 1).numpy()[0]", "+ len(x.tolist())"),
    ),
    "tolerance": (
        SPEC.replace(
            '"1.0": {{precision: fp32}}',
            '"1.0": {{precision: int8, tolerance: {{cosine: 1.0, relative: 1.0e-9}}}}',
        ),
        SOURCE,
    ),
    "by_chance": (SPEC, SOURCE.replace(FORWARD, "return self.inner(x) + torch.rand(3)")),
    "not_finite": (SPEC, SOURCE.replace(FORWARD, "return self.inner(x) / 0 * 0")),
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """What one build of all broken models, and a sound one, says: text by model."""
    root = tmp_path_factory.mktemp("broken")
    patch = pytest.MonkeyPatch()
    patch.setenv("TRITON_BUILDER_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name, (spec, source) in BROKEN.items():
        model(root, name, spec, source)
    echo(root, "sound")
    said = []
    quiet = Options(jobs=2, validate=False, say=lambda _: None, on_event=said.append)
    try:
        with pytest.raises(BuilderError) as caught:
            build(context(root, None), quiet)
    finally:
        patch.undo()
    assert isinstance(caught.value, SeveralError)
    assert not (root / "repository" / "cpu").exists()
    assert "config sound" in {event.action for event in said if event.kind == "done"}
    return {
        name: error
        for name in BROKEN
        for error in caught.value.errors
        if f"models/{name}/" in str(error) or f" {name} " in f" {error.where} "
    }


def check(errors, name, *words, code=2):
    text = str(errors[name])
    for word in words:
        assert word in text, text
    assert errors[name].exit_code == code
    assert "this is a bug" not in text


def line_of(source, words):
    return next(i for i, line in enumerate(source.splitlines(), 1) if words in line)


def test_every_broken_model_is_told_of(errors):
    assert errors.keys() == BROKEN.keys()


def test_a_source_that_raises_is_blamed_at_its_line(errors):
    line = line_of(BROKEN["raises_on_load"][1], "Linear() / 0")
    check(errors, "raises_on_load", f"models/raises_on_load/source.py:{line}", "TypeError")


def test_a_forward_that_raises_is_blamed_at_its_line(errors):
    line = line_of(BROKEN["raises_in_forward"][1], "no way")
    check(errors, "raises_in_forward", f"source.py:{line}", "no way")


def test_a_load_that_gives_no_module(errors):
    check(errors, "no_module", "found:    int", "torch.nn.Module")


def test_a_package_that_is_not_there(errors):
    check(errors, "missing_package", "no_such_package", "pip install", code=3)


def test_a_sample_of_wrong_shape(errors):
    check(errors, "sample_shape", "[1, 5]", "[batch, 4]")


def test_a_sample_of_wrong_dtype(errors):
    check(errors, "sample_dtype", "float64", "float32")


def test_a_sample_with_a_wrong_name(errors):
    check(errors, "sample_name", "z", "x")


def test_a_sample_beyond_its_dimension(errors):
    check(errors, "sample_batch", "9", "8")


def test_no_samples(errors):
    check(errors, "no_samples", "sample")


def test_a_wrong_declared_output_dtype(errors):
    check(errors, "output_dtype", "float32", "int64", "y")


def test_a_wrong_declared_output_shape(errors):
    check(errors, "output_shape", "[batch, 2]", "y")


def test_a_wrong_declared_output_name(errors):
    check(errors, "output_name", "logits", "y")


def test_a_wrong_number_of_outputs(errors):
    check(errors, "output_count", "2", "1")


def test_a_dimension_that_the_export_specialised(errors):
    check(errors, "specialised", "batch")


def test_a_missed_tolerance(errors):
    check(errors, "tolerance", "int8", "precision: fp32", code=1)


def test_a_model_that_answers_by_chance(errors):
    check(errors, "by_chance", "answers differently each time", "outputs.y", "torch.rand")


def test_answers_that_are_not_finite(errors):
    check(errors, "not_finite", "finite")
