"""Bodies of requests and answers, as Triton's HTTP port takes and gives them."""

import json

import pytest

from builder.triton import wire
from builder.triton.wire import Tensor

IDS = Tensor("ids", "INT64", (1, 2), b"\x01" + bytes(15))
TEXT = Tensor("text", "BYTES", (1, 1), b"\x02\0\0\0\xc3\xa9")


def said(body: bytes, header: int):
    return json.loads(body[:header])


def test_a_request_is_a_header_and_the_bytes_of_the_inputs_in_its_order():
    header, body = wire.request([IDS, TEXT], ["y"])
    assert [i["name"] for i in said(body, header)["inputs"]] == ["ids", "text"]
    assert [i["parameters"]["binary_data_size"] for i in said(body, header)["inputs"]] == [16, 6]
    assert body[header:] == IDS.data + TEXT.data


def test_a_request_asks_for_its_outputs_as_bytes():
    header, body = wire.request([IDS], ["y", "z"])
    outputs = said(body, header)["outputs"]
    assert [o["name"] for o in outputs] == ["y", "z"]
    assert all(o["parameters"]["binary_data"] for o in outputs)


def reply(*tensors: Tensor, version="3") -> tuple[bytes, int]:
    header = {
        "model_name": "m",
        "model_version": version,
        "outputs": [
            {
                "name": t.name,
                "datatype": t.datatype,
                "shape": list(t.shape),
                "parameters": {"binary_data_size": len(t.data)},
            }
            for t in tensors
        ],
    }
    text = json.dumps(header).encode()
    return text + b"".join(t.data for t in tensors), len(text)


def test_an_answer_is_read_back():
    body, header = reply(TEXT, IDS)
    answer = wire.answer(body, header)
    assert answer.version == "3"
    assert answer.outputs == {"ids": IDS, "text": TEXT}


def test_an_answer_without_outputs_has_none():
    body, _ = reply()
    assert wire.answer(body, None).outputs == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"not json",
        b"{}",
        b'{"model_version": "1", "outputs": [{"name": "y", "data": [1]}]}',
        b'{"model_version": "1", "outputs": null}',
    ],
)
def test_what_is_no_answer_is_refused(body):
    with pytest.raises(ValueError, match=r"."):
        wire.answer(body, None)


def test_an_answer_that_is_cut_is_refused():
    body, header = reply(IDS)
    with pytest.raises(ValueError, match="speaks of"):
        wire.answer(body[:-1], header)


def test_an_answer_with_more_than_it_says_is_refused():
    body, header = reply(IDS)
    with pytest.raises(ValueError, match="speaks of"):
        wire.answer(body + b"x", header)
