"""The config stage: what a model's versions share, out of their goldens."""

import numpy as np
import pytest

from builder.stages import config, goldens
from builder.stages.goldens import Golden
from builder.stages.job import Job
from builder.triton import probe
from builder.triton.closeness import elements

PARAMS = {
    "name": "net",
    "backend": "onnxruntime",
    "max_batch_size": 4,
    "inputs": {"x": {"dtype": "float32", "shape": ["batch", "n"]}},
    "outputs": {"y": {"dtype": "float16", "shape": ["batch", 2]}},
    "versions": [1, 2],
    "latest": None,
    "batching": None,
    "timeout_us": None,
    "instances": 1,
    "kind": "KIND_CPU",
    "warmup": [],
    "config": {},
    "tolerance": {"1": {"y": {"cosine": 0.9}}, "2": {"y": {"cosine": 0.8}}},
    "where": "models/net/model.yaml config",
}


def sample(rows: int, n: int, value: float = 1.0) -> Golden:
    x = np.full((rows, n), value, np.float32)
    return Golden({"x": x}, {"y": np.full((rows, 2), value, np.float16)})


@pytest.fixture
def run(tmp_path):
    """Runs the stage; gives a version's probe, read back from its files."""

    def with_(samples, number=1, *, twice=False, **changes):
        params = {**PARAMS, **changes}
        inputs = {}
        for version in params["versions"]:
            inputs[str(version)] = folder = tmp_path / f"in{version}"
            folder.mkdir(exist_ok=True)
            goldens.write(folder / goldens.FILE, samples)
        out = tmp_path / ("again" if twice else "out")
        out.mkdir()
        config.run(Job(params, inputs, tmp_path, out, "config net"))
        return probe.read(number, lambda name: (out / name).read_bytes(), "net")

    return with_


def sent(asked):
    """The bytes behind the request's header."""
    return np.frombuffer(asked.body[asked.header :], np.float32).tolist()


def test_the_smallest_request_of_one_row_is_the_probe(run):
    asked = run([sample(1, 5), sample(2, 1), sample(1, 3, 7.0), sample(1, 4)])
    assert sent(asked) == [7.0] * 3
    assert elements(asked.outputs[0].tensor) == [7.0, 7.0]


def test_the_first_of_equally_small_ones_is_taken(run):
    assert sent(run([sample(1, 2, 3.0), sample(1, 2, 4.0)])) == [3.0, 3.0]


def test_a_row_of_a_larger_sample_is_a_request_where_all_rows_have_one_shape(run):
    asked = run([sample(3, 2, 5.0), sample(2, 3)])
    assert sent(asked) == [5.0, 5.0]
    assert asked.outputs[0].tensor.shape == (1, 2)


def test_a_whole_sample_is_the_request_where_a_row_alone_may_have_another_shape(run):
    padded = {"y": {"dtype": "float16", "shape": ["batch", "n"]}}
    asked = run([sample(3, 2), sample(2, 2, 6.0)], outputs=padded)
    assert sent(asked) == [6.0] * 4
    assert asked.outputs[0].tensor.shape == (2, 2)


def test_what_does_not_batch_is_asked_whole(run):
    asked = run([sample(3, 2), sample(2, 2)], max_batch_size=0)
    assert asked.outputs[0].tensor.shape == (2, 2)
    assert not asked.batched


def test_a_sample_with_nothing_in_it_proves_little(run):
    assert sent(run([sample(1, 0), sample(1, 2)])) == [1.0, 1.0]
    asked = run([sample(1, 0)], twice=True)
    assert sent(asked) == []


def texts(*items: bytes) -> np.ndarray:
    array = np.empty((len(items), 1), object)
    array[:, 0] = items
    return array


def test_an_empty_text_proves_little_either(run):
    outputs = {"y": np.ones((1, 2), np.float16)}
    samples = [Golden({"x": texts(b"")}, outputs), Golden({"x": texts("é".encode())}, outputs)]
    asked = run(samples, inputs={"x": {"dtype": "string", "shape": ["batch", 1]}})
    assert asked.body[asked.header :] == b"\x02\0\0\0\xc3\xa9"


def test_each_version_has_its_own_bounds(run):
    assert run([sample(1, 2)], number=1).outputs[0].bounds == {"cosine": 0.9}
    assert run([sample(1, 2)], number=2, twice=True).outputs[0].bounds == {"cosine": 0.8}


@pytest.mark.parametrize(("batch", "shape"), [(4, (1, 1)), (0, (1,))])
def test_a_tensor_without_axes_travels_as_one_element(run, batch, shape):
    axes = ["batch"] if batch else []
    scalar = np.float16(2) if not batch else np.full((1,), 2, np.float16)
    samples = [Golden({"x": np.ones((1, 2), np.float32)}, {"y": np.asarray(scalar)})]
    asked = run(samples, max_batch_size=batch, outputs={"y": {"dtype": "float16", "shape": axes}})
    assert asked.outputs[0].tensor.shape == shape


def test_it_is_asked_by_its_number(run):
    assert run([sample(1, 2)], number=2).path == "/v2/models/net/versions/2/infer"


def test_the_same_goldens_give_the_same_bytes(run, tmp_path):
    run([sample(1, 2)])
    run([sample(1, 2)], twice=True)
    first, second = (
        {p.name: p.read_bytes() for p in (tmp_path / folder).iterdir()}
        for folder in ("out", "again")
    )
    assert first == second
    assert set(first) == {"config.pbtxt", *probe.names(1), *probe.names(2)}
