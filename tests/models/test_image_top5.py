import numpy as np
import pytest

from tests.models.sources import read

pytestmark = pytest.mark.export


def test_scores_are_the_five_largest_probabilities_likeliest_first():
    import torch

    top5 = read("image_top5")
    network = top5.load()
    for sample in top5.samples():
        logits = sample["logits"].astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        order = np.argsort(-shares, axis=1)[:, :5]
        indices, scores = (t.numpy() for t in network(torch.from_numpy(sample["logits"])))
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(indices, order)
        np.testing.assert_allclose(scores, np.take_along_axis(shares, order, 1), rtol=1e-5)
