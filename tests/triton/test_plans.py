"""What a plan says of itself, and which TensorRT loads it."""

import pytest

from builder.triton import plans

CLASSIC = b"ftrt" + bytes(20) + bytes([10, 5, 0, 18])


def test_a_plan_names_what_made_it():
    assert str(plans.maker(CLASSIC)) == "TensorRT 10.5.0.18"


@pytest.mark.parametrize(
    "other", [b"", b"ftrt", CLASSIC[:27], b"xtrt" + CLASSIC[4:], b"ftrt\x01" + CLASSIC[5:]]
)
def test_other_bytes_name_nothing(other):
    assert plans.maker(other) is None


@pytest.mark.parametrize(
    ("server", "plan", "compatible", "loads"),
    [
        ("10.5.0", "10.5.0.18", False, True),
        ("10.5.0.18", "10.5.0.18", False, True),
        ("10.5.0.23", "10.5.0.18", False, False),
        ("10.5.1", "10.5.0", False, False),
        ("10.5", "10.5.0", False, False),
        ("10.5.0", "unknown", False, False),
        ("10.7.0", "10.5.0.18", False, False),
        ("10.7.0", "10.5.0.18", True, True),
        ("10.3.0", "10.5.0.18", True, False),
        ("11.0.0", "10.5.0.18", True, False),
    ],
)
def test_a_plan_loads_in_its_own_version(server, plan, compatible, loads):
    assert plans.loads(server, plan, compatible=compatible) is loads
