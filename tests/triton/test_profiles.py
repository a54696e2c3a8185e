"""Optimisation profiles: every shape that a spec allows has exactly one."""

from hypothesis import given
from hypothesis import strategies as st

from builder.spec.tensor import Dim, Tensor
from builder.triton.profiles import Sizes, Span, buckets, profiles

SIZES = st.integers(0, 300)
DIMS = st.tuples(SIZES, st.integers(1, 300)).map(lambda p: Dim(min=min(p), max=max(*p, 1)))
BATCHES = st.tuples(DIMS, st.lists(st.integers(1, 400), max_size=5))


@given(BATCHES)
def test_a_batch_has_one_bucket(given_):
    batch, preferred = given_
    found = buckets(batch, preferred)
    for size in range(max(batch.min, 1), batch.max + 1):
        assert sum(one.least <= size <= one.most for one in found) == 1
    assert found[0].least == max(batch.min, 1)
    assert found[-1].most == batch.max


@given(BATCHES)
def test_the_smallest_batch_and_each_preferred_one_have_a_bucket_that_is_best_at_them(given_):
    batch, preferred = given_
    best = {one.best for one in buckets(batch, preferred)}
    least = max(batch.min, 1)
    assert best == {least, batch.max} | {p for p in preferred if least <= p <= batch.max}


NAMED = st.sampled_from(["batch", "rows", "columns", 0, 1, 3, 224])
INPUTS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.lists(NAMED, max_size=4).map(lambda shape: Tensor(dtype="float32", shape=tuple(shape))),
    min_size=1,
)
NAMES = st.fixed_dictionaries({"batch": DIMS, "rows": DIMS, "columns": DIMS})


@given(INPUTS, NAMES, st.lists(st.integers(1, 400), max_size=4), st.booleans())
def test_every_input_has_ordered_shapes_within_the_spec_s_bounds(inputs, dims, preferred, batched):
    if batched:
        inputs = {
            name: t.model_copy(update={"shape": ("batch", *t.shape)}) for name, t in inputs.items()
        }
    found = profiles(inputs, dims, batched=batched, preferred=preferred)
    assert found
    for profile in found:
        assert list(profile) == list(inputs)
        for name, tensor in inputs.items():
            for size, *three in zip(tensor.shape, *profile[name], strict=True):
                assert three == sorted(three)
                if isinstance(size, int):
                    assert set(three) == {size}
                else:
                    assert dims[size].min <= three[0]
                    assert three[2] <= dims[size].max
    assert batched or len(found) == 1


@given(INPUTS, NAMES, st.lists(st.integers(1, 400), max_size=4))
def test_a_name_has_one_size_in_all_inputs_of_a_profile(inputs, dims, preferred):
    inputs = {n: t.model_copy(update={"shape": ("batch", *t.shape)}) for n, t in inputs.items()}
    for profile in profiles(inputs, dims, batched=True, preferred=preferred):
        for shape in range(3):
            sizes = {}
            for name, tensor in inputs.items():
                for axis, size in enumerate(tensor.shape):
                    assert (
                        sizes.setdefault(size, profile[name][shape][axis])
                        == (profile[name][shape][axis])
                    )


def test_a_batched_text_model():
    shape = ("batch", "sequence")
    inputs = {name: Tensor(dtype="int64", shape=shape) for name in ("ids", "mask")}
    dims = {"batch": Dim(max=32), "sequence": Dim(min=1, max=256)}
    found = profiles(inputs, dims, batched=True, preferred=(8, 16))
    assert [profile["ids"] for profile in found] == [
        Span((1, 1), (1, 256), (1, 256)),
        Span((2, 1), (8, 256), (8, 256)),
        Span((9, 1), (16, 256), (16, 256)),
        Span((17, 1), (32, 256), (32, 256)),
    ]
    assert all(profile["ids"] == profile["mask"] for profile in found)


def test_a_batch_of_one_has_one_profile():
    assert buckets(Dim(max=1), (4,)) == [Sizes(1, 1, 1)]


def test_a_model_that_takes_no_batch_has_one_profile():
    inputs = {
        "x": Tensor(dtype="float32", shape=(3, "width")),
        "k": Tensor(dtype="int64", shape=()),
    }
    found = profiles(inputs, {"width": Dim(min=2, max=9)}, batched=False, preferred=(4,))
    assert found == [{"x": Span((3, 2), (3, 9), (3, 9)), "k": Span((), (), ())}]
