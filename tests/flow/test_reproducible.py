"""A second build elsewhere finds what does not come out the same, and says where it differs."""

import numpy as np
import pytest

from builder.flow.build import Options, build
from builder.flow.context import context
from builder.flow.reproducible import NotReproducibleError, check, refuse
from tests.projects import ECHO_SOURCE, ECHO_SPEC, SOURCE, SPEC, echo, model

pytestmark = pytest.mark.slow

FIRST = "the-first-place"
SAMPLE = "[[1, 2]]"
FILES = ECHO_SPEC.replace("samples:", "files: source.py:files\nsamples:")

CHANGING = {
    "clock": ECHO_SOURCE.replace(
        SAMPLE, "[[__import__('time').time_ns() & 0xffffff, __import__('time').time_ns() >> 40]]"
    ),
    "chance": ECHO_SOURCE.replace(
        SAMPLE, "np.frombuffer(__import__('os').urandom(8), np.int32)[None]"
    ),
    "addresses": ECHO_SOURCE.replace(SAMPLE, "[[1, id(object()) >> 20 & 0x7fffffff]]"),
    "path": ECHO_SOURCE.replace(SAMPLE, "[[1, len(__file__)]]"),
}
"""Sources whose first sample is another one each time, or elsewhere."""


LISTINGS = "[[len(os.listdir('data')), 10 * len(glob('*.txt')) + len(os.listdir('empty'))]]"
"""A sample out of folders that lie elsewhere in the project; nothing in them is opened."""


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def twice(root, names=(), on_event=lambda _: None):
    """Builds a project, and checks it."""
    quiet = Options(jobs=2, validate=False)
    here = context(root, None, names)
    records = build(here, quiet).records
    return check(here, records, jobs=2, say=lambda _: None, on_event=on_event)


@pytest.fixture(scope="module")
def differences(tmp_path_factory, patch):
    """What is found of a project with all the faults that need no torch, by model."""
    patch.setenv("TRITON_BUILDER_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("TZ", "UTC")
    root = tmp_path_factory.mktemp("project") / FIRST
    for name, source in CHANGING.items():
        echo(root, name, source)
    folder = echo(root, "files", ECHO_SOURCE)
    (folder / "model.yaml").write_text(
        FILES.replace("{name}", "files").replace("{{", "{").replace("}}", "}")
    )
    text = "def files(): return {'conf/where.txt': f'one\\n{__file__}\\n'.encode()}\n"
    (folder / "source.py").write_text(ECHO_SOURCE + text)
    echo(root, "failing", ECHO_SOURCE + f"\nassert {FIRST!r} in __file__\n")
    echo(root, "sound", ECHO_SOURCE)
    for name in ("data/one.txt", "data/deeper/two.txt", "more/three.txt", "four.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "empty").mkdir()
    echo(
        root,
        "listing",
        "import os\nfrom glob import glob\n" + ECHO_SOURCE.replace(SAMPLE, LISTINGS),
    )
    found = {}
    for difference in twice(root):
        found.setdefault(difference.action.split()[1], []).append(difference)
    return found


@pytest.mark.parametrize("name", CHANGING)
def test_a_sample_that_changes_is_named_with_its_place(differences, name):
    (found,) = differences[name]
    assert (found.action, found.file) == (f"reference {name}", "goldens.npy")
    assert found.where.startswith("sample 0, input `x` [0, ")
    assert found.first[0] != found.second[0]


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("clock", ("clock", "time.time_ns", "models/clock/source.py:6")),
        ("chance", ("randomness", "os.urandom", "models/chance/source.py:6")),
    ],
)
def test_what_the_source_is_known_to_have_read_is_named_as_the_cause(differences, name, cause):
    (found,) = differences[name]
    assert [(u["what"], u["call"], u["where"]) for u in found.unstable] == [cause]
    assert f"{cause[2]} reads the {cause[0]}" in "\n".join(found.lines())


def test_the_path_is_shown_as_its_length_in_both_builds(differences):
    (found,) = differences["path"]
    here, there = found.where.split(": ")[1].split(" in the first build, ")
    assert int(here) != int(there.split()[0])


def test_a_text_differs_in_a_line_that_is_shown(differences):
    (found,) = differences["files"]
    assert (found.action, found.file) == ("python files", "conf/where.txt")
    assert found.where.startswith("line 2: ")


def test_an_action_that_only_fails_elsewhere_is_a_difference(differences):
    (found,) = differences["failing"]
    assert (found.action, found.file, found.first) == ("reference failing", "", None)
    assert "AssertionError" in found.where


def test_what_follows_from_another_difference_is_not_told(differences):
    assert [d.action for name in CHANGING for d in differences[name]] == [
        f"reference {name}" for name in CHANGING
    ]


def test_a_sound_model_has_no_difference(differences):
    assert "sound" not in differences


def test_folders_that_are_listed_hold_the_same_elsewhere(differences):
    assert "listing" not in differences


def test_differences_are_refused_with_all_that_is_known(differences):
    flat = [found for each in differences.values() for found in each]
    with pytest.raises(NotReproducibleError) as caught:
        refuse(flat)
    assert caught.value.exit_code == 1
    assert "models/clock/source.py:6 reads the clock (time.time_ns)" in str(caught.value)
    refuse([])


def test_the_project_and_its_store_are_left_as_they_were(project, cache_folder):
    echo(project)

    def files():
        return {p for folder in (project, cache_folder) for p in folder.rglob("*") if p.is_file()}

    here = context(project, None)
    records = build(here, Options(jobs=1, validate=False)).records
    before = files()
    assert check(here, records, jobs=1, say=lambda _: None) == []
    assert files() == before


def test_a_part_of_a_project_is_checked_alone(project, cache_folder):
    echo(project, "sound")
    echo(project, "chance", CHANGING["chance"])
    events = []
    assert twice(project, ["sound"], events.append) == []
    assert {event.action.split()[1] for event in events} == {"sound"}


def test_a_file_outside_the_models_that_a_source_reads_goes_along(project, cache_folder):
    reads = "__import__('pathlib').Path(__file__).parents[2].joinpath('common/n').read_text()"
    echo(project, "reader", ECHO_SOURCE.replace(SAMPLE, f"[[1, int({reads})]]"))
    (project / "common").mkdir()
    (project / "common" / "n").write_text("7")
    assert twice(project) == []


HIDDEN = SOURCE.replace(
    "return self.inner(x)", "return self.inner(x + self.rows(torch.zeros_like(x[:, 0]).long()))"
).replace(
    "self.inner =",
    "self.rows = torch.nn.Embedding(3, 4)\n"
    "        self.rows.weight.data[2] = torch.tensor(list(__import__('os').urandom(4)))\n"
    "        self.inner =",
)
"""A row that no sample asks for: the goldens are the same, the graph is not."""

UNSET = SOURCE.replace(
    "self.inner = torch.nn.Linear(4, 3)",
    "self.inner = torch.nn.Linear(4, 3)\n"
    "        self.inner.bias.data = torch.empty(1 << 24)[:3].clone()",
)
"""So large that the kernel gives it anew, full of zeros: two plain builds would agree."""


@pytest.fixture(scope="module")
def torch_differences(tmp_path_factory, patch, cache, installation):
    folder = tmp_path_factory.mktemp("cache")
    (folder / "servers").symlink_to(cache / "servers")
    patch.setenv("TRITON_BUILDER_CACHE", str(folder))
    root = tmp_path_factory.mktemp("project") / FIRST
    for name, source in (("hidden", HIDDEN), ("unset", UNSET), ("sound", SOURCE)):
        model(root, name, SPEC, source)
    return twice(root)


@pytest.mark.live
@pytest.mark.export
class TestTorch:
    def test_a_sound_model_has_no_difference(self, torch_differences):
        assert {d.action.split()[1] for d in torch_differences} == {"hidden", "unset"}

    def test_a_weight_that_changes_is_named_in_the_graph(self, torch_differences):
        (found,) = [d for d in torch_differences if d.action == "export hidden"]
        assert found.file == "model.onnx"
        assert "rows.weight` [2, " in found.where
        assert found.unstable[0]["call"] == "os.urandom"

    def test_memory_that_was_never_set_is_found(self, torch_differences):
        (found,) = [d for d in torch_differences if d.action == "reference unset"]
        assert found.where.startswith("sample 0, output `y` [0, 0]: ")


class TestWhere:
    """The place in words, for kinds of files that no build above makes."""

    def test_an_array_of_another_shape(self, tmp_path):
        from builder.flow.difference import where

        np.savez(tmp_path / "a.npz", w=np.zeros((2, 3)))
        np.savez(tmp_path / "b.npz", w=np.zeros((3, 2)))
        assert where("x.npz", tmp_path / "a.npz", tmp_path / "b.npz") == (
            "array `w`: float64 [2, 3] in the first build, float64 [3, 2] in the second"
        )

    def test_numbers_that_are_equal_and_yet_other_bytes(self, tmp_path):
        from builder.flow.difference import where

        np.savez(tmp_path / "a.npz", v=np.ones(2), w=np.array([1.0, 0.0]))
        np.savez(tmp_path / "b.npz", v=np.ones(2), w=np.array([1.0, -0.0]))
        assert where("x.npz", tmp_path / "a.npz", tmp_path / "b.npz").startswith("array `w` [1]:")

    def test_one_array_in_a_file(self, tmp_path):
        from builder.flow.difference import where

        np.save(tmp_path / "a.npy", np.array([1.0, 2.0]))
        np.save(tmp_path / "b.npy", np.array([1.0, 3.0]))
        assert where("x.npy", tmp_path / "a.npy", tmp_path / "b.npy").startswith("array [1]: 2.0 ")

    @pytest.mark.parametrize("name", ["goldens.npy", "x.npy", "x.npz", "model/goldens.npy"])
    def test_a_file_that_is_not_what_it_is_called(self, tmp_path, name):
        from builder.flow.difference import where

        (tmp_path / "a").write_bytes(b"PK\3\4\0")
        (tmp_path / "b").write_bytes(b"PK\3\4\1")
        assert where(name, tmp_path / "a", tmp_path / "b") == "byte 4"

    def test_a_byte_of_what_is_no_text(self, tmp_path):
        from builder.flow.difference import where

        (tmp_path / "a").write_bytes(b"\0" * (1 << 20) + b"\0\1\2")
        (tmp_path / "b").write_bytes(b"\0" * (1 << 20) + b"\0\1\3")
        assert where("x.bin", tmp_path / "a", tmp_path / "b") == f"byte {(1 << 20) + 2}"

    def test_an_end_that_is_missing(self, tmp_path):
        from builder.flow.difference import where

        (tmp_path / "a").write_bytes(b"\0\1")
        (tmp_path / "b").write_bytes(b"\0\1\2")
        assert where("x.bin", tmp_path / "a", tmp_path / "b") == "byte 2"

    @pytest.mark.parametrize(
        ("change", "place"),
        [
            (lambda m: setattr(m.graph.node[1], "op_type", "Sub"), "node 1 `n1` (Add), op_type: "),
            (lambda m: m.graph.node.pop(), "nodes: 2 in the first build, 1 in the second"),
            (lambda m: setattr(m.graph.initializer[0], "name", "v"), "initializers: w in the"),
            (
                lambda m: m.graph.initializer[0].float_data.__setitem__(1, 9.0),
                "initializer `w` [1]",
            ),
            (lambda m: setattr(m.graph.input[0], "name", "z"), "graph, input: "),
            (lambda m: setattr(m, "producer_name", "other"), "producer_name: "),
        ],
    )
    def test_a_part_of_a_graph(self, tmp_path, change, place):
        from onnx import TensorProto, helper

        from builder.flow.difference import where

        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
        nodes = [
            helper.make_node("Add", ["x", "w"], ["h"], "n0"),
            helper.make_node("Add", ["h", "w"], ["y"], "n1"),
        ]
        weights = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
        made = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weights]))
        (tmp_path / "a").write_bytes(made.SerializeToString())
        change(made)
        (tmp_path / "b").write_bytes(made.SerializeToString())
        assert where("model.onnx", tmp_path / "a", tmp_path / "b").startswith(place)

    def test_a_byte_of_weights_beside_a_graph_is_named_by_its_initializer(self, tmp_path):
        import onnx
        from onnx import helper, numpy_helper

        from builder.flow.difference import where

        def save(name, value):
            weights = [np.full(2000, n, np.float32) for n in (1, value)]
            tensors = [numpy_helper.from_array(w, f"w{n}") for n, w in enumerate(weights)]
            made = helper.make_model(helper.make_graph([], "g", [], [], tensors))
            onnx.save(made, tmp_path / name, save_as_external_data=True, location=f"{name}.data")
            return tmp_path / f"{name}.data"

        files = save("a.onnx", 2), save("b.onnx", 3)
        assert where("model.onnx.data", *files, tmp_path / "a.onnx").startswith(
            "initializer `w1`, byte "
        )
