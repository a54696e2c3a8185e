import numpy as np
import pytest

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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_arrays_come_back_as_they_went(tmp_path, dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    goldens.write(tmp_path / "g.npz", [Golden({"x": array}, {"y": array})])
    (found,) = goldens.read(tmp_path / "g.npz")
    assert found.inputs["x"].dtype == array.dtype
    assert found.inputs["x"].shape == shape
    assert found.outputs["y"].tobytes() == array.tobytes()


def test_strings_keep_every_byte(tmp_path):
    texts = np.array([[b"a\0", b""], [b"\xff\xfe", "é".encode()]], object)
    goldens.write(tmp_path / "g.npz", [Golden({"x": texts}, {})])
    (found,) = goldens.read(tmp_path / "g.npz")
    assert found.inputs["x"].tolist() == texts.tolist()


def test_names_may_hold_anything(tmp_path):
    names = ["a/b", "a.b", "ü", "index"]
    goldens.write(tmp_path / "g.npz", [Golden({n: np.ones(1) for n in names}, {})])
    (found,) = goldens.read(tmp_path / "g.npz")
    assert list(found.inputs) == names


def test_equal_goldens_are_equal_bytes(tmp_path):
    for name in ("a.npz", "b.npz"):
        goldens.write(tmp_path / name, [Golden({"x": np.ones((2, 2))}, {"y": np.zeros(3)})])
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
