"""Totals over all samples, where one sample alone says little."""

import numpy as np
import pytest

from builder.stages.goldens import Golden
from builder.stages.score import Standard, score

LABEL = {"label": {"dtype": "int64", "shape": ["batch"]}}
X = {"x": {"dtype": "float32", "shape": ["batch", 4]}}


@pytest.mark.parametrize(("wrong", "missed"), [(0, False), (1, False), (2, False), (3, True)])
def test_labels_that_come_one_a_sample_are_counted_over_all(wrong, missed):
    standard = Standard.of({"inputs": X, "outputs": LABEL, "tolerance": []}, "int8")
    goldens = [Golden({}, {"label": np.array([n])}) for n in range(40)]
    answers = [{"label": np.array([n + (n < wrong)])} for n in range(40)]
    found = score(goldens, answers, standard)
    assert bool(found.misses) == missed
