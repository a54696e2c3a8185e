"""Probes as files in a model's folder."""

import json

import pytest

from builder.errors import WorkFailedError
from builder.triton import probe, wire
from builder.triton.probe import Expected, Probe
from builder.triton.wire import Tensor


def example(**changes) -> Probe:
    outputs = (
        Expected(Tensor("y", "FP32", (1, 2), bytes(8)), {"cosine": 0.98}),
        Expected(Tensor("label", "INT64", (1, 1), bytes(7) + b"\x01"), {"mismatch": 0.0}),
    )
    header, body = wire.request([Tensor("x", "FP16", (1, 2), b"abcd")], ["y", "label"])
    said = {
        "path": probe.path("net", 1001000),
        "number": 1001000,
        "header": header,
        "body": body,
        "batched": True,
        "outputs": outputs,
    }
    return Probe(**{**said, **changes})


def test_what_is_written_reads_back():
    files = probe.files(example())
    assert probe.read(1001000, files.__getitem__, "net") == example()


def test_the_request_is_the_body_that_is_posted_as_it_is():
    files = probe.files(example())
    assert files["probe.1001000.request"] == example().body
    said = json.loads(files["probe.1001000.json"])
    assert said["path"] == "/v2/models/net/versions/1001000/infer"
    json.loads(files["probe.1001000.request"][: said["header"]])


def test_the_header_has_a_line_of_its_own_for_the_shell():
    lines = probe.files(example())["probe.1001000.json"].decode().splitlines()
    assert f'  "header": {example().header},' in lines


def test_equal_probes_give_equal_bytes():
    assert probe.files(example()) == probe.files(example())


def test_files_of_all_versions_lie_side_by_side():
    assert not set(probe.names(1)) & set(probe.names(2))
    assert all(name.startswith(probe.PREFIX) for name in probe.names(1))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 99},
        {"version": "1"},
        {"outputs": None},
        {"outputs": [{"name": "y"}]},
        {"header": "many"},
        {"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "size": 4, "bounds": {}}]},
    ],
)
def test_what_is_no_probe_says_so(change):
    files = probe.files(example())
    said = {**json.loads(files["probe.1001000.json"]), **change}
    files["probe.1001000.json"] = json.dumps(said).encode()
    with pytest.raises(WorkFailedError, match="not a probe") as error:
        probe.read(1001000, files.__getitem__, "net")
    assert error.value.where == "net/probe.1001000.json"


def test_a_tree_without_a_probe_says_so(tmp_path):
    with pytest.raises(WorkFailedError, match="there is no probe of version 7"):
        probe.read(7, lambda name: (tmp_path / name).read_bytes(), "net")
