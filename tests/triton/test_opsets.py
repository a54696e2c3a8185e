import pytest

from builder.triton.opsets import WRITTEN, Node, Onnx, aim, obstacles, some

LOADS = Onnx(21, 10)
ADD = Node("add", "Add", since=14)
ATTENTION = Node("attend", "Attention", since=23, new=True)
SQUEEZE = Node("squeeze", "Squeeze", since=23)


def test_what_is_written_is_loaded():
    for loads in (Onnx(19, 9), Onnx(20, 9), LOADS, Onnx(26, 13)):
        written = aim(loads)
        assert obstacles(written, loads, [ADD]) == []
        assert written.opset <= WRITTEN.opset
        assert written.ir_version <= WRITTEN.ir_version


def test_the_highest_that_both_take_is_written():
    assert aim(Onnx(19, 9)) == Onnx(19, 9)
    assert aim(LOADS) == Onnx(20, 10)


def test_an_operator_that_came_later_is_named_and_not_those_that_only_changed():
    assert obstacles(Onnx(23, 10), LOADS, [ADD, SQUEEZE, ATTENTION]) == [
        "Attention (node `attend`) is of opset 23, 21 is loaded"
    ]
    assert obstacles(Onnx(23, 10), LOADS, [ADD, SQUEEZE]) == [
        "Squeeze (node `squeeze`) is of opset 23, 21 is loaded"
    ]


def test_a_number_that_no_node_needs_is_named_itself():
    assert obstacles(Onnx(23, 11), LOADS, [ADD]) == [
        "it is of opset 23, 21 is loaded",
        "it has IR version 11, 10 is loaded",
    ]


@pytest.mark.parametrize(
    ("domain", "refused"), [("nowhere", True), ("com.microsoft", False), ("ai.onnx", False)]
)
def test_operators_of_unknown_domains_are_named(domain, refused):
    reasons = obstacles(Onnx(20, 10), LOADS, [Node("n", "Twice", domain)])
    assert bool(reasons) == refused
    if refused:
        assert "nowhere::Twice (node `n`)" in reasons[0]


def test_operators_that_the_file_defines_itself_are_known():
    node = Node("n", "Twice", "nowhere")
    assert obstacles(Onnx(20, 10), LOADS, [node], [("nowhere", "Twice")]) == []


def test_a_node_without_a_name_is_named_by_its_operator_once():
    nodes = [Node("", "Attention", since=23, new=True)] * 2
    assert obstacles(Onnx(23, 10), LOADS, nodes) == ["Attention is of opset 23, 21 is loaded"]


def test_many_reasons_are_cut_short():
    assert some(["a", "b"]) == "a; b"
    assert some(list("abcdefg")) == "a; b; c; d; e; and 2 more"
