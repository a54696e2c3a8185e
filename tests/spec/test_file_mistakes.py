"""Files that are missing, or are not what their names say."""

from tests.projects import SOURCE, SPEC, model
from tests.spec.mistakes import edited, refused


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


def test_missing_weights(tmp_path):
    text = edited(tmp_path, "versions:", "weights: w.safetensors\nversions:")
    assert "weights models/linear/w.safetensors are missing" in text


def test_weights_without_a_pinned_digest(tmp_path):
    folder = model(tmp_path, spec=SPEC.replace("versions:", "weights: w.bin\nversions:"))
    (folder / "w.bin").write_bytes(b"weights")
    assert "expected: weights_sha256: " in refused(tmp_path)


def test_no_models(tmp_path):
    (tmp_path / "models").mkdir()
    assert "there are no models" in refused(tmp_path)


def test_a_link_that_leads_nowhere(tmp_path):
    model(tmp_path)
    (tmp_path / "models" / "lost").symlink_to("nowhere")
    (tmp_path / "models" / "loop").symlink_to("loop")
    told = refused(tmp_path)
    assert "models/lost: a link that leads nowhere" in told
    assert "models/loop: a link that leads nowhere" in told


def test_a_spec_that_ends_in_yml(tmp_path):
    folder = model(tmp_path)
    (folder / "model.yaml").rename(folder / "model.yml")
    assert "rename models/linear/model.yml to model.yaml" in refused(tmp_path)
