"""Answers are judged by the rules that the builder's own comparison has, without NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from builder.spec.tolerance import OutputTolerance
from builder.stages.agreement import compare
from builder.stages.config import _bytes
from builder.triton.closeness import CODES, difference, disagreement, elements
from builder.triton.dtypes import BY_SPEC
from builder.triton.probe import Expected, Probe
from builder.triton.wire import Answer, Tensor

NUMBERS = [name for name in BY_SPEC if name != "string"]


def tensor(array: np.ndarray, name: str = "y") -> Tensor:
    kind = "string" if array.dtype.kind == "O" else array.dtype.name
    return Tensor(name, BY_SPEC[kind].wire, array.shape, _bytes(array))


def texts(*items: bytes) -> np.ndarray:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def test_every_dtype_of_specs_can_be_read():
    assert {BY_SPEC[name].wire for name in NUMBERS} == set(CODES)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_elements_are_the_arrays(dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype)
    assert elements(tensor(array)) == array.ravel().tolist()


def test_strings_are_the_arrays():
    array = texts(b"", b"\0a\0", "é".encode(), b"x" * 300)
    assert elements(tensor(array)) == array.tolist()


BOUNDS = st.builds(
    OutputTolerance,
    cosine=st.none() | st.floats(-1, 1),
    relative=st.none() | st.floats(0, 0.5),
    mismatch=st.none() | st.floats(0, 1),
)


@st.composite
def pairs(draw):
    """An answer, and one that is near it, far from it or odd in places."""
    dtype = draw(st.sampled_from(["float16", "float32", "float64", "int32", "uint8", "bool"]))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, max_side=4))
    plain = {"allow_nan": False, "allow_infinity": False, "width": 16}
    values = st.floats(-100, 100, **plain) if dtype.startswith("float") else None
    first = draw(arrays.arrays(dtype, shape, elements=values))
    second = first.copy()
    for _ in range(draw(st.integers(0, 3))):
        place = tuple(draw(st.integers(0, n - 1)) for n in shape)
        if dtype.startswith("float"):
            off = draw(st.floats(-2, 2, **plain) | st.sampled_from([np.nan, np.inf]))
            second[place] += off
            if draw(st.booleans()):
                first[place] = draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.0]))
        else:
            second[place] = draw(arrays.arrays(dtype, ()))
    return first, second


def borderline(first, second, bounds, *, batched) -> bool:
    """Whether sums in another order may decide otherwise."""
    found = compare(first, second, OutputTolerance(), batched=batched)
    limits = [(found.cosine, bounds.cosine), (found.relative, bounds.relative)]
    return any(b is not None and abs(a - b) < 1e-6 for a, b in limits)


@given(pairs(), BOUNDS, st.booleans())
def test_it_says_no_exactly_where_the_builder_says_no(pair, bounds, batched):
    first, second = pair
    if borderline(first, second, bounds, batched=batched):
        return
    wanted = compare(first, second, bounds, batched=batched).reason
    asked = bounds.model_dump(exclude_none=True)
    found = difference(tensor(first), tensor(second), asked, batched=batched)
    assert (found is None) == (wanted is None), (found, wanted)


def test_one_bad_row_is_found_among_good_ones():
    first = np.eye(8, 4, dtype=np.float32) + 1
    second = first.copy()
    second[3] = -second[3]
    found = difference(tensor(first), tensor(second), {"cosine": 0.5}, batched=True)
    assert "in row 3" in found


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (np.zeros((2, 1), np.float32), "shape [2, 1] where [1, 2] was expected"),
        (np.zeros((1, 2), np.float64), "dtype FP64 where FP32 was expected"),
        (np.array([[1, 9]], np.float32), "9 where 2 was expected (row 0, element 1)"),
        (np.array([[1, np.nan]], np.float32), "NaN"),
    ],
)
def test_it_says_what_is_wrong(other, words):
    first = np.array([[1, 2]], np.float32)
    assert words in difference(tensor(first), tensor(other), {"relative": 0.1}, batched=True)


def test_strings_differ_by_element():
    first, second = texts(b"a", b"b"), texts(b"a", b"c")
    assert "1 of 2 elements differ" in difference(tensor(first), tensor(second), {}, batched=True)


@pytest.mark.parametrize("data", [b"", b"abc", b"\xff\0\0\0a"])
def test_bytes_that_are_not_as_many_as_the_shape_says_are_no_answer(data):
    first = Tensor("y", "BYTES", (1,), b"\x01\0\0\0a")
    found = difference(first, Tensor("y", "BYTES", (1,), data), {}, batched=False)
    assert "bytes that are no BYTES [1]" in found


def asked(number: int = 2) -> Probe:
    expected = Expected(tensor(np.array([[1.0]], np.float32)), {"relative": 0.0})
    return Probe("/", number, 0, b"", batched=True, outputs=(expected,))


def test_another_version_is_no_answer():
    answer = Answer("1", {"y": asked().outputs[0].tensor})
    assert disagreement(asked(), answer) == "version 1 answered where 2 was asked"


def test_a_missing_output_is_no_answer():
    assert "does not hold" in disagreement(asked(), Answer("2", {}))


def test_the_answer_itself_is_one():
    assert disagreement(asked(), Answer("2", {"y": asked().outputs[0].tensor})) is None
