"""The release table: what every row has to have, and what is said of a fact that is not there."""

import re

import pytest

from builder.errors import InputError
from builder.servers.embedded import install
from builder.triton.opsets import Onnx
from builder.triton.releases import IMAGE, Release, release, table

ROWS = table().values()
FACTS = ("server", "onnxruntime", "onnx", "tensorrt", "cuda", "python", "compute_capability")
FIELDS = (*FACTS, "driver", "images")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_fact_of_a_row_has_a_source(row):
    said = {field for fields in row.sources.values() for field in fields}
    known = {field for field in FIELDS if getattr(row, field)}
    assert known <= said
    assert said <= known
    assert all(source.startswith(("https://", "tests/")) for source in row.sources)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_facts_look_like_what_they_are(row):
    shapes = {
        "server": r"2\.\d+\.\d+",
        "onnxruntime": r"1\.\d+\.\d+",
        "tensorrt": r"\d+\.\d+\.\d+\.\d+",
        "cuda": r"1\d\.\d+(\.\d+)*",
        "python": r"3\.\d+(\.\d+)?",
        "compute_capability": r"\d\.\d",
        "driver": r"\d{3}",
    }
    for fact, shape in shapes.items():
        value = getattr(row, fact)
        assert value is None or re.fullmatch(shape, value), fact
    assert all(image == f"{IMAGE}:{row.name}-{kind}" for kind, image in row.images.items())
    assert "py3" in row.images
    assert row.notes.keys() <= {*FIELDS}


def test_no_month_is_left_out():
    names = list(table())
    assert names[0] == "23.10"
    assert names == sorted(names)
    months = [divmod(int(n[:2]) * 12 + int(n[3:]) - 1, 12) for n in (names[0], names[-1])]
    first, last = (year * 12 + month for year, month in months)
    wanted = [f"{m // 12}.{m % 12 + 1:02}" for m in range(first, last + 1)]
    assert names == wanted


def test_versions_never_go_back_from_month_to_month():
    for fact in ("server", "onnxruntime", "compute_capability", "cuda"):
        values = [getattr(row, fact) for row in ROWS if getattr(row, fact)]
        numbers = [tuple(int(part) for part in value.split(".")[:2]) for value in values]
        assert numbers == sorted(numbers), fact
    loaded = [(row.onnx.opset, row.onnx.ir_version) for row in ROWS if row.onnx]
    assert loaded == sorted(loaded)


def test_where_there_is_an_onnxruntime_it_is_known_what_it_loads():
    assert all((row.onnx is None) == (row.onnxruntime is None) for row in ROWS)


def test_an_embedded_server_is_that_of_its_release():
    for name, pins in install.RELEASES.items():
        row = release(name)
        assert (row.server, row.onnxruntime) == (pins.server, pins.packages["onnxruntime"])


def test_what_24_10_is():
    row = release("24.10")
    assert (row.server, row.need("onnxruntime"), row.loads) == ("2.51.0", "1.19.2", Onnx(21, 10))
    assert row.need("tensorrt") == "10.5.0.18"


def test_an_unknown_release_says_how_to_add_one():
    with pytest.raises(InputError) as caught:
        release("99.01", "pyproject.toml")
    assert caught.value.where == "pyproject.toml"
    assert caught.value.found == "99.01"
    assert "releases --triton" in caught.value.expected
    assert "releases.json" in caught.value.fix


def test_a_fact_that_is_not_established_says_why_and_how_to_add_it():
    with pytest.raises(InputError, match="not established") as caught:
        release("24.09").need("cuda")
    assert "12.6.1.006" in caught.value.found
    assert "tritonserver:24.09-py3" in caught.value.fix
    with pytest.raises(InputError) as caught:
        release("24.09").need("tensorrt")
    assert caught.value.found == "no source that says it"


def test_the_release_without_an_onnxruntime_says_so():
    with pytest.raises(InputError) as caught:
        _ = release("24.02").loads
    assert "without the ONNX Runtime backend" in caught.value.found


def test_an_onnxruntime_that_nothing_is_known_of_is_named():
    with pytest.raises(InputError) as caught:
        _ = Release("30.01", onnxruntime="1.99.0").loads
    assert "ONNX Runtime 1.99.0" in caught.value.found
