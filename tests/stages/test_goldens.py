import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from builder.errors import WorkFailedError
from builder.stages import goldens
from builder.stages.goldens import Golden

DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
]

KNOWN = "ec0f3c8e6706b000738cd096d949b48e24bb0fa2b3caecd53f67e73de4e09754"
"""The sha256 of `known()`'s file, by any Python and any NumPy 1.26."""


def known():
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3) / 3
    return [
        Golden({"x": numbers, "ids": np.array([[1, -2]])}, {"y": np.array(0.5, np.float16)}),
        Golden({"text": np.array([b"a\0", "é".encode(), b""], object)}, {"ok": np.array([True])}),
    ]


def same(a, b):
    assert [(list(x.inputs), list(x.outputs)) for x in a] == [
        (list(x.inputs), list(x.outputs)) for x in b
    ]
    for x, y in zip(a, b, strict=True):
        for one, other in ((x.inputs, y.inputs), (x.outputs, y.outputs)):
            for name, array in one.items():
                found = other[name]
                assert (found.dtype, found.shape) == (array.dtype, array.shape)
                if array.dtype.kind == "O":
                    assert found.tolist() == array.tolist()
                else:
                    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_arrays_come_back_as_they_went(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    goldens.write(tmp_path / "g", [Golden({"x": array}, {"y": array})])
    same(goldens.read(tmp_path / "g"), [Golden({"x": array}, {"y": array})])


def test_what_is_read_may_be_written_to(tmp_path):
    goldens.write(tmp_path / "g", [Golden({"x": np.zeros(3)}, {})])
    (found,) = goldens.read(tmp_path / "g")
    found.inputs["x"][0] = 1.0


def test_strings_keep_every_byte(tmp_path):
    texts = np.array([[b"a\0", b""], [b"\xff\xfe", "é".encode()]], object)
    goldens.write(tmp_path / "g", [Golden({"x": texts}, {})])
    same(goldens.read(tmp_path / "g"), [Golden({"x": texts}, {})])


@pytest.mark.parametrize("texts", [[], [[]], [b""]])
def test_no_string_at_all(tmp_path, texts):
    array = np.array(texts, object)
    goldens.write(tmp_path / "g", [Golden({"x": array}, {})])
    same(goldens.read(tmp_path / "g"), [Golden({"x": array}, {})])


def test_names_may_hold_anything(tmp_path):
    names = ["a/b", "a.b", "ü", "index", ""]
    goldens.write(tmp_path / "g", [Golden({n: np.ones(1) for n in names}, {})])
    (found,) = goldens.read(tmp_path / "g")
    assert list(found.inputs) == names


NUMBERS = st.one_of(
    *(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0)) for dtype in DTYPES)
)
TEXTS = st.lists(st.binary(max_size=9)).map(lambda texts: np.array(texts, object))
TENSORS = st.dictionaries(st.text(max_size=5), st.one_of(NUMBERS, TEXTS), max_size=4)
SAMPLES = st.lists(st.builds(Golden, TENSORS, TENSORS), max_size=4)
QUICK = settings(
    max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


class TestLaws:
    @QUICK
    @given(SAMPLES)
    def test_reading_undoes_writing(self, tmp_path, samples):
        goldens.write(tmp_path / "g", samples)
        same(goldens.read(tmp_path / "g"), samples)

    @QUICK
    @given(SAMPLES)
    def test_equal_goldens_are_equal_bytes_however_they_lie_in_memory(self, tmp_path, samples):
        def turned(tensors):
            return {name: array.copy(order="F") for name, array in tensors.items()}

        goldens.write(tmp_path / "a", samples)
        others = [Golden(turned(g.inputs), turned(g.outputs)) for g in samples]
        goldens.write(tmp_path / "b", others)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    @QUICK
    @given(st.data())
    def test_a_file_that_was_cut_is_refused(self, tmp_path, data):
        goldens.write(tmp_path / "g", known())
        whole = (tmp_path / "g").read_bytes()
        length = data.draw(st.integers(0, len(whole) - 1))
        (tmp_path / "g").write_bytes(whole[:length])
        with pytest.raises(WorkFailedError, match="not a file of goldens"):
            goldens.read(tmp_path / "g")

    @QUICK
    @given(st.data())
    def test_a_file_with_other_bytes_is_read_or_refused(self, tmp_path, data):
        goldens.write(tmp_path / "g", known())
        content = bytearray((tmp_path / "g").read_bytes())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1)):
            content[place] = data.draw(st.integers(0, 255))
        (tmp_path / "g").write_bytes(content)
        try:
            goldens.read(tmp_path / "g")
        except WorkFailedError as e:
            assert "not a file of goldens" in str(e)  # noqa: PT017 - reading it is fine as well


class TestForeign:
    @pytest.mark.parametrize(
        "content", [b"", b"PK\3\4", b"{}", b"\x93NUMPY\3\0", b"\x93NUMPY\1\0\x05\0((((("]
    )
    def test_no_arrays(self, tmp_path, content):
        (tmp_path / "g").write_bytes(content)
        with pytest.raises(WorkFailedError) as failed:
            goldens.read(tmp_path / "g")
        assert str(tmp_path / "g") in str(failed.value)
        assert "index" in str(failed.value)

    @pytest.mark.parametrize(
        "array",
        [
            np.ones(3),
            np.frombuffer(b"[[1]]", np.uint8),
            np.frombuffer(b'[[["inputs", "x", "pickle"]]]', np.uint8),
            np.frombuffer(b'[[["inputs", 3, "array"]]]', np.uint8),
            np.frombuffer(b'[[["inside", "x", "array"]]]', np.uint8),
            np.frombuffer(b"[" * 100_000, np.uint8),
        ],
        ids=["numbers", "a number", "kind", "name", "side", "depth"],
    )
    def test_another_index(self, tmp_path, array):
        np.save(tmp_path / "g.npy", array)
        with pytest.raises(WorkFailedError, match="not a file of goldens"):
            goldens.read(tmp_path / "g.npy")

    def test_objects_are_never_loaded(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "trapped"),)

        with (tmp_path / "g").open("wb") as file:
            np.save(file, np.frombuffer(b'[[["inputs", "x", "array"]]]', np.uint8))
            np.save(file, np.array([Trap()], object), allow_pickle=True)
        with pytest.raises(WorkFailedError, match="array of object"):
            goldens.read(tmp_path / "g")
        assert not (tmp_path / "trapped").exists()

    def test_an_array_that_claims_to_be_larger_than_the_file(self, tmp_path):
        with (tmp_path / "g").open("wb") as file:
            np.save(file, np.frombuffer(b'[[["inputs", "x", "array"]]]', np.uint8))
            header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 60,)}
            np.lib.format.write_array_header_1_0(file, header)
        with pytest.raises(WorkFailedError, match="bytes where 0 are left"):
            goldens.read(tmp_path / "g")


class TestTheSameEverywhere:
    """A cache is shared by machines whose Pythons differ in their last number."""

    def test_a_known_file_has_a_known_digest(self, tmp_path):
        goldens.write(tmp_path / "g", known())
        digest = hashlib.sha256((tmp_path / "g").read_bytes()).hexdigest()
        assert digest == KNOWN

    @pytest.mark.parametrize("python", ["/usr/bin/python3", sys.executable])
    def test_another_python_writes_the_same_bytes(self, tmp_path, python):
        """Debian's own, on this NumPy, where it is of the same minor version."""
        version = [python, "-c", "import sys; print(*sys.version_info[:2])"]
        if not Path(python).exists() or subprocess.run(
            version, capture_output=True, text=True, check=True
        ).stdout.split() != [str(n) for n in sys.version_info[:2]]:
            python = sys.executable
        root = Path(__file__).parents[2]
        paths = [str(root), str(Path(np.__file__).parents[1])]
        code = (
            "import sys, pathlib; from tests.stages import test_goldens as t; "
            "t.goldens.write(pathlib.Path(sys.argv[1]), t.known())"
        )
        subprocess.run(
            [python, "-S", "-c", code, str(tmp_path / "there")],
            env={"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"},
            check=True,
        )
        goldens.write(tmp_path / "here", known())
        assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
