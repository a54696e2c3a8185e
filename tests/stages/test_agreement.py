"""How far is too far, row by row."""

import numpy as np
import pytest

from builder.spec.tolerance import OutputTolerance, Tolerance, resolve
from builder.stages.agreement import compare, words

FP32 = resolve("fp32", "y")
INT8 = resolve("int8", "y")


def rows(*values):
    return np.array(values, np.float32)


def reason(expected, actual, bounds=FP32, *, batched=True):
    return compare(expected, actual, bounds, batched=batched).reason


def test_equal_answers_agree():
    x = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    found = compare(x, x, FP32, batched=True)
    assert (found.cosine, found.relative, found.reason) == (1.0, 0.0, None)


def test_one_bad_row_is_not_hidden_by_good_ones():
    good = np.ones((100, 8), np.float32)
    bad = good.copy()
    bad[37, :4] = -1
    assert "row 37" in reason(good, bad, INT8)
    assert reason(good, bad, INT8, batched=False) is None


def test_a_shape_is_not_broadcast():
    assert "[1, 3]" in reason(np.ones((2, 3), np.float32), np.ones((1, 3), np.float32))


@pytest.mark.parametrize(("given", "asked"), [("int32", "int64"), ("float64", "float32")])
def test_a_dtype_is_not_converted(given, asked):
    found = reason(np.ones((1, 3), asked), np.ones((1, 3), given))
    assert found == f"dtype {given} where {asked} was expected"


def test_nan_agrees_with_nan_and_with_nothing_else():
    assert reason(rows([1, np.nan]), rows([1, np.nan])) is None
    assert "NaN" in reason(rows([1, 2]), rows([1, np.nan]))
    assert "NaN" in reason(rows([1, np.nan]), rows([1, 2]))
    assert "NaN" in reason(rows([1, np.inf]), rows([1, -np.inf]))


def test_zeros_agree_with_zeros():
    assert reason(rows([0, 0]), rows([0, 0])) is None


def test_a_row_of_one_number_is_held_by_its_size_not_its_sign():
    assert reason(rows([1], [2]), rows([1.01], [2.01]), INT8) is None
    assert "off by" in reason(rows([1], [2]), rows([1], [3]), INT8)


def test_integers_and_strings_are_exact_by_default():
    assert "1 of 2 elements differ" in reason(np.array([[1, 2]]), np.array([[1, 3]]))
    texts = np.array([[b"a", b"b"]], object)
    assert reason(texts, np.array([["a", "b"]], object)) is None
    assert reason(texts, np.array([[b"a", b"c"]], object)) is not None


def test_a_share_of_integers_may_differ_where_the_spec_says_so():
    bounds = OutputTolerance(mismatch=0.5)
    assert reason(np.array([[1, 2]]), np.array([[1, 3]]), bounds) is None


def test_where_a_share_may_differ_a_single_label_may():
    assert reason(np.array([3]), np.array([4]), INT8) is None
    assert reason(np.array([3]), np.array([4]), FP32) is not None
    assert reason(np.arange(20), np.arange(20)[::-1], INT8) is not None


def test_nothing_agrees_with_nothing():
    assert reason(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)) is None


def test_overrides_by_output_lie_over_the_rest():
    layer = Tolerance(cosine=0.9, outputs={"y": OutputTolerance(cosine=0.5)})
    assert resolve("int8", "y", layer).cosine == 0.5
    assert resolve("int8", "z", layer).cosine == 0.9
    assert resolve("int8", "z", layer).mismatch == INT8.mismatch


@pytest.mark.parametrize("kind", ["int64", "uint8", "bool"])
def test_figures_of_exact_outputs(kind):
    found = compare(np.zeros(4, kind), np.array([0, 0, 0, 1], kind), FP32, batched=False)
    assert found.mismatch == 0.25


def test_bounds_are_told_in_words():
    bounds = OutputTolerance(cosine=0.98, mismatch=0.05)
    assert words(bounds) == "cosine at least 0.98, mismatch at most 0.05"
