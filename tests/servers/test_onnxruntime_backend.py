"""The backend of the embedded server, through the live server."""

from __future__ import annotations

import runpy
import sys
import threading
import time
import types

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from builder.servers import log
from builder.servers.embedded.server import BACKENDS, EmbeddedServer

pytestmark = pytest.mark.live

FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
EVERY = {
    "BOOL": (TensorProto.BOOL, [True, False, True]),
    "UINT8": (TensorProto.UINT8, [0, 1, 255]),
    "UINT16": (TensorProto.UINT16, [0, 1, 2**16 - 1]),
    "UINT32": (TensorProto.UINT32, [0, 1, 2**32 - 1]),
    "UINT64": (TensorProto.UINT64, [0, 1, 2**64 - 1]),
    "INT8": (TensorProto.INT8, [-128, 0, 127]),
    "INT16": (TensorProto.INT16, [-(2**15), 0, 2**15 - 1]),
    "INT32": (TensorProto.INT32, [-(2**31), 0, 2**31 - 1]),
    "INT64": (TensorProto.INT64, [-(2**63), 0, 2**63 - 1]),
    "FP16": (TensorProto.FLOAT16, [-0.0, 6e-8, np.nan]),
    "FP32": (TensorProto.FLOAT, [-0.0, 1e-45, np.inf]),
    "FP64": (TensorProto.DOUBLE, [5e-324, np.nan, -np.inf]),
    "STRING": (TensorProto.STRING, [b"", "Größe 語 🙂".encode(), b"a\0b\0"]),
}


def array(name):
    onnx_type, values = EVERY[name]
    return np.array(values, dtype=helper.tensor_dtype_to_np_dtype(onnx_type)).reshape(1, -1)


def declare(side, name, dtype, dims, more=""):
    return f"{side} {{ name: '{name}' data_type: TYPE_{dtype} dims: {dims} {more} }}\n"


def pair(dtype="FP32", dims="[-1]"):
    return declare("input", "x", dtype, dims) + declare("output", "y", dtype, dims)


BATCHING = "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 300000 }\n"
# a full preferred batch leaves at once: tests that send exactly four do not wait
FOUR = BATCHING.replace("{ max", "{ preferred_batch_size: 4 max")


def add_models(repository):
    echo = [helper.make_node("Identity", [f"in_{n}"], [f"out_{n}"]) for n in EVERY]
    for name, batch, config in (("echo", 1, ""), ("echo_batched", "n", FOUR)):
        # unbatched: [1, n] as it is
        lead = "" if batch == "n" else "1, "
        repository.add(
            name,
            echo,
            [(f"in_{n}", t, [batch, "m"]) for n, (t, _) in EVERY.items()],
            [(f"out_{n}", t, [batch, "m"]) for n, (t, _) in EVERY.items()],
            config
            + "".join(declare("input", f"in_{n}", n, f"[{lead}-1]") for n in EVERY)
            + "".join(declare("output", f"out_{n}", n, f"[{lead}-1]") for n in EVERY),
        )

    def scaled(version):
        factor = helper.make_tensor("k", FLOAT, [], [float(version)])
        nodes = [helper.make_node("Constant", [], ["k"], value=factor)]
        return [*nodes, helper.make_node("Mul", ["x", "k"], ["y"])]

    repository.add(
        "scaled",
        scaled,
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 4])],
        FOUR
        + pair(dims="[4]")
        + "version_policy { specific { versions: [2, 3] } }\n"
        + "model_warmup { name: 'w' batch_size: 3 inputs { key: 'x' value "
        "{ data_type: TYPE_FP32 dims: [4] zero_data: true } } }\n"
        "parameters { key: 'intra_op_thread_count' value { string_value: '1' } }\n"
        "parameters { key: 'session.intra_op.allow_spinning' value { string_value: '0' } }\n"
        "parameters { key: 'execution_mode' value { string_value: '1' } }\n"
        "optimization { graph { level: -1 } }\n"
        "default_model_filename: 'model.onnx'\n",
        versions=(2, 3, 4),
    )
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32), "table")
    repository.add(
        "lookup",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", INT64, ["n", 1])],
        [("y", FLOAT, ["n", 1])],
        FOUR + declare("input", "x", "INT64", "[1]") + declare("output", "y", "FP32", "[1]"),
        initializers=[table],
    )
    # takes any number of rows, and answers the first
    repository.add(
        "lone",
        [helper.make_node("Compress", ["x", "first"], ["y"], axis=0)],
        [("x", FLOAT, ["n", 4])],
        [("y", FLOAT, ["n", 4])],
        FOUR + pair(dims="[4]"),
        initializers=[numpy_helper.from_array(np.array([True]), "first")],
    )
    repository.add(
        "scalar",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", FLOAT, [])],
        [("y", FLOAT, [])],
        pair(dims="[1]"),
    )


@pytest.fixture(scope="module")
def server(installation, repository):
    add_models(repository)
    with EmbeddedServer(installation, [repository.root]) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with InferenceServerClient(server.grpc) as client:
        for name in ("echo", "echo_batched", "scaled", "lookup", "lone", "scalar"):
            client.load_model(name)
        yield client


def test_numpy_2_is_refused_before_anything_is_loaded(monkeypatch):
    # the one test without a server: the runtime of every installation holds NumPy 1.26
    stub = types.ModuleType("triton_python_backend_utils")
    stub.TritonModelException = type("TritonModelException", (Exception,), {})
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stub)
    backend = runpy.run_path(str(BACKENDS / "onnxruntime" / "model.py"))
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(stub.TritonModelException, match="corrupts tensors"):
        backend["TritonPythonModel"]().initialize({})


def tensor(name, value):
    one = InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
    one.set_data_from_numpy(value)
    return one


def infer(client, model, arrays, outputs=None, version=""):
    wanted = None if outputs is None else [InferRequestedOutput(name) for name in outputs]
    inputs = [tensor(name, value) for name, value in arrays.items()]
    answer = client.infer(model, inputs, outputs=wanted, model_version=version)
    return {o.name: answer.as_numpy(o.name) for o in answer.get_response().outputs}


def together(client, model, many):
    """The answers, or errors, of requests sent at one time."""
    results = [None] * len(many)

    def one(place, arrays):
        try:
            results[place] = infer(client, model, arrays)
        except InferenceServerException as error:
            results[place] = error

    threads = [threading.Thread(target=one, args=item) for item in enumerate(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def batch_sizes(client, model, version):
    statistics = client.get_inference_statistics(model, version, as_json=True)["model_stats"][0]
    batches = statistics.get("batch_stats", [])
    return {int(b["batch_size"]): int(b["compute_infer"].get("count", 0)) for b in batches}


def batches_become(client, model, version, expected):
    """Triton counts a batch shortly after its answers are out."""
    deadline = time.monotonic() + 5
    while (found := batch_sizes(client, model, version)) != expected:
        if time.monotonic() > deadline:
            return found
        time.sleep(0.02)
    return expected


def raw(value):
    return value.tolist() if value.dtype == np.object_ else value.tobytes()


def test_every_dtype_goes_through_bit_for_bit(client):
    sent = {f"in_{n}": array(n) for n in EVERY}
    got = infer(client, "echo", sent)
    assert len(got) == len(EVERY)
    for name in EVERY:
        assert got[f"out_{name}"].dtype == sent[f"in_{name}"].dtype
        assert raw(got[f"out_{name}"]) == raw(sent[f"in_{name}"]), name


def test_every_dtype_survives_a_formed_batch(client):
    many = [{f"in_{n}": np.roll(array(n), k, axis=1) for n in EVERY} for k in range(4)]
    for sent, got in zip(many, together(client, "echo_batched", many), strict=True):
        for name in EVERY:
            assert raw(got[f"out_{name}"]) == raw(sent[f"in_{name}"]), name
    assert batches_become(client, "echo_batched", "1", {4: 1}) == {4: 1}


def test_empty_tensors_come_back_empty(client):
    sent = {f"in_{n}": array(n)[:, :0] for n in EVERY}
    got = infer(client, "echo", sent)
    assert {value.shape for value in got.values()} == {(1, 0)}


def test_a_tensor_without_dimensions_is_one_element(client):
    got = infer(client, "scalar", {"x": np.array([21], np.float32)})
    assert got["y"].tolist() == [42.0]


def test_only_asked_outputs_come_back(client):
    sent = {f"in_{n}": array(n) for n in EVERY}
    assert list(infer(client, "echo", sent, ["out_INT8"])) == ["out_INT8"]


def test_requests_of_different_sizes_and_outputs_share_a_batch(client):
    rows = np.arange(16, dtype=np.float32).reshape(4, 4)
    one, three = together(client, "scaled", [{"x": rows[:1]}, {"x": rows[1:]}])
    assert np.array_equal(np.concatenate([one["y"], three["y"]]), rows * 3)
    # Triton counts the warm-up's batch of three, too: it ran
    assert batches_become(client, "scaled", "3", {3: 1, 4: 1}) == {3: 1, 4: 1}


def test_each_version_answers_and_the_policy_decides_which_are_there(client):
    x = np.ones((4, 4), np.float32)
    assert infer(client, "scaled", {"x": x}, version="2")["y"][0, 0] == 2
    assert infer(client, "scaled", {"x": x}, version="3")["y"][0, 0] == 3
    assert infer(client, "scaled", {"x": x})["y"][0, 0] == 3
    with pytest.raises(InferenceServerException, match="version 4"):
        infer(client, "scaled", {"x": x}, version="4")


def test_one_bad_request_fails_alone(client):
    many = [{"x": np.array([[n]], np.int64)} for n in (1, 2, 99, 4)]
    one, two, bad, four = together(client, "lookup", many)
    assert [one["y"].item(), two["y"].item(), four["y"].item()] == [1.0, 2.0, 4.0]
    assert isinstance(bad, InferenceServerException)
    assert "out of data bounds" in str(bad)
    assert batches_become(client, "lookup", "1", {4: 1}) == {4: 1}


def warnings(server, words, count):
    """The lines of the log that warn of that, when there are as many; logs come late."""
    deadline = time.monotonic() + 5
    while True:
        found = [line for line in log.trouble(server.log()) if words in line]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def test_a_batch_that_falls_apart_is_told_of_once(server, client):
    rows = [{"x": np.full((1, 4), n, np.float32)} for n in range(4)]
    for _ in range(3):
        answers = together(client, "lone", rows)
        assert [a["y"][0, 0] for a in answers] == [0, 1, 2, 3]
    (line,) = warnings(server, "lone 1: a batch of 4 requests", 1)
    assert "does not run at once" in line
    assert "1 rows for a batch of 4" in line


def test_a_bad_request_does_not_hide_a_batch_that_does_not_run(server, client):
    bad = [{"x": np.array([[n]], np.int64)} for n in (1, 2, 99, 4)]
    for _ in range(2):
        together(client, "lookup", bad)
    (line,) = warnings(server, "lookup 1: a batch of 4 requests", 1)
    assert "not all of it can be answered" in line
    assert "out of data bounds" in line


def test_bytes_that_are_no_text_are_an_error(client):
    sent = {f"in_{n}": array(n) for n in EVERY}
    sent["in_STRING"] = np.array([[b"\xff\xfe", b"", b""]], dtype=object)
    with pytest.raises(InferenceServerException, match="in_STRING holds bytes that are not UTF-8"):
        infer(client, "echo", sent)
    assert client.is_server_ready()


X, Y = ("x", FLOAT, ["n", 4]), ("y", FLOAT, ["n", 4])
REFUSED = {
    "dtype": (X, Y, pair("INT64", "[-1, 4]"), "input x is declared TYPE_INT64.*has TYPE_FP32"),
    "rank": (X, Y, pair(dims="[4]"), r"input x is declared \[4\], the model has \[-1, 4\]"),
    "fixed": (X, Y, pair(dims="[-1, 5]"), r"declared \[-1, 5\]"),
    "narrowed_output": (
        ("x", FLOAT, ["n", "m"]),
        ("y", FLOAT, ["n", "m"]),
        pair(dims="[-1, 4]"),
        r"output y is declared \[-1, 4\], the model has \[-1, -1\]",
    ),
    "no_batch": (
        ("x", FLOAT, [2, 4]),
        ("y", FLOAT, [2, 4]),
        "max_batch_size: 2\n" + pair(dims="[4]"),
        "lacks a free first dimension for max_batch_size",
    ),
    "output_name": (X, Y, pair(dims="[-1, 4]").replace("'y'", "'z'"), "output z is unknown"),
    "input_name": (X, Y, pair(dims="[-1, 4]").replace("'x'", "'z'"), "input x .* not declared"),
    "parameter": (
        X,
        Y,
        pair(dims="[-1, 4]")
        + "parameters { key: 'intra_op_thread_count' value { string_value: 'two' } }\n",
        "intra_op_thread_count.*'two'",
    ),
    "file": (X, Y, pair(dims="[-1, 4]") + "default_model_filename: 'other.onnx'\n", "no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_config_that_does_not_fit_the_model_is_refused_at_load(client, repository, case):
    one, other, config, message = REFUSED[case]
    name = f"refused_{case}"
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    repository.add(name, nodes, [one], [other], config)
    with pytest.raises(InferenceServerException, match=message):
        client.load_model(name)
    assert not client.is_model_ready(name)


def test_a_failing_warm_up_blocks_the_load(installation, other_repository):
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32), "table")
    other_repository.add(
        "cold",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", INT64, ["n", 1])],
        [("y", FLOAT, ["n", 1])],
        "max_batch_size: 4\n"
        + declare("input", "x", "INT64", "[1]")
        + declare("output", "y", "FP32", "[1]")
        + "model_warmup { name: 'wild' batch_size: 1 inputs { key: 'x' value "
        "{ data_type: TYPE_INT64 dims: [1] random_data: true } } }\n",
        initializers=[table],
    )
    # tritonserver 2.51 itself crashes after about every third failed warm-up, whatever the
    # backend: so a server of its own, and no word about how it fares afterwards
    with (
        EmbeddedServer(installation, [other_repository.root]) as server,
        InferenceServerClient(server.grpc) as client,
    ):
        with pytest.raises(InferenceServerException):
            client.load_model("cold")
        assert "out of data bounds" in server.log()
        assert "\x1b" not in server.log()


def test_weights_in_a_file_beside_the_model_are_found(client, repository):
    import onnx

    weights = numpy_helper.from_array(np.full((4,), 2, np.float32), "w")
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    repository.add("external", nodes, [X], [Y], pair(dims="[-1, 4]"), initializers=[weights])
    path = repository.root / "external" / "1" / "model.onnx"
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    client.load_model("external")
    got = infer(client, "external", {"x": np.ones((2, 4), np.float32)})
    assert got["y"].tolist() == [[2.0] * 4] * 2
