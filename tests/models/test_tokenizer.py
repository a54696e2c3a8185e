"""The core of tokenizer/model.py, without Triton, against transformers' tokenizer."""

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.models.sources import MODELS, read

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def source():
    return read("tokenizer")


@pytest.fixture(scope="module")
def encode(source):
    return read("tokenizer", "model.py").Encoder(source.files()["tokenizer.json"].read_bytes())


def test_agrees_with_transformers_on_every_sample(source, encode):
    samples = source.samples()
    answers = encode([sample["text"].ravel().tolist() for sample in samples])
    for sample, (ids, mask) in zip(samples, answers, strict=True):
        expected = source.reference(sample)
        np.testing.assert_array_equal(ids, expected["input_ids"])
        np.testing.assert_array_equal(mask, expected["attention_mask"])


@pytest.mark.parametrize(
    "text", ["", "\N{GRINNING FACE}" * 30, "漢字" * 200, "a b " * 1250, "\x00\x01", "a" * 5000]
)
def test_agrees_with_transformers_on_extremes(source, encode, text):
    sample = {"text": np.array([[text.encode()]], dtype=object)}
    [(ids, mask)] = encode([[text.encode()]])
    expected = source.reference(sample)
    np.testing.assert_array_equal(ids, expected["input_ids"])
    np.testing.assert_array_equal(mask, expected["attention_mask"])


def test_each_request_of_a_dynamic_batch_gets_its_own_bucket(encode):
    shapes = [ids.shape for ids, _ in encode([[b"a"], [b"a " * 100, b"b"], [b"c " * 999]])]
    assert shapes == [(1, 16), (2, 128), (1, 256)]


@pytest.mark.parametrize(("tokens", "bucket"), [(16, 16), (17, 32), (256, 256), (257, 256)])
def test_buckets_hold_exactly_their_length(encode, tokens, bucket):
    [(ids, mask)] = encode([[b"a " * (tokens - 2)]])  # [CLS] and [SEP] are the other two
    assert ids.shape == (1, bucket)
    assert mask.sum() == min(tokens, 256)


def test_bad_utf8_fails_its_own_request_only(encode):
    good, bad, also_good = encode([[b"a"], [b"b", b"x\xff"], [b"c"]])
    assert bad == "text[1] is not UTF-8: byte 0xff at 1, invalid start byte"
    assert good[0].shape == also_good[0].shape == (1, 16)


def test_model_needs_numpy_and_its_own_folder_only(source, tmp_path):
    """In the C locale and outside of any environment but NumPy's, as in the Python stub."""
    version = tmp_path / "1000000"
    (version / "site-packages").mkdir(parents=True)
    (version / "model.py").write_bytes((MODELS / "tokenizer" / "model.py").read_bytes())
    for path, data in source.files().items():
        (version / path).write_bytes(data.read_bytes())
    for package, where in ((version / "site-packages", "tokenizers"), (tmp_path, "numpy")):
        (package / where).symlink_to(Path(find_spec(where).origin).parent)
    libraries = Path(find_spec("numpy").origin).parents[1] / "numpy.libs"
    if libraries.is_dir():
        (tmp_path / "numpy.libs").symlink_to(libraries)
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; import model; m = model.TritonPythonModel();"
        "m.initialize({}); [(ids, mask)] = m._encode([[b'hello']]); print(ids.tolist());"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'huggingface_hub', 'torch'}))"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(version), str(tmp_path)]
    environment = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"[[101, 7592, 102{', 0' * 13}]]", "[]"], done.stderr


def test_model_parses_on_the_containers_python():
    ast.parse((MODELS / "tokenizer" / "model.py").read_text("utf-8"), feature_version=(3, 10))
