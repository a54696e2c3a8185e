import pytest

from builder.errors import InputError
from builder.triton.releases import release, table


def test_every_row_has_its_facts_and_their_source():
    for row in table().values():
        assert row.source
        assert row.opset >= 17
        assert row.onnxruntime.count(".") == 2


def test_an_unknown_release_says_how_to_add_one():
    with pytest.raises(InputError) as caught:
        release("99.01")
    assert "24.10" in caught.value.expected
    assert "releases.json" in caught.value.fix
