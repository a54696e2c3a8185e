"""Two graphs layer by layer: the one that was broken is named, and no other."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from builder.errors import MissingError, WorkFailedError
from builder.stages import artifact, fp16, goldens, int8, qdq
from builder.stages.comparing import cuts, layers
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs
from tests.stages.layers import IMAGE, convolutional, images, minilm

WIDE = 8


def chain():
    """Linear layers one after the other, with a branch that leads nowhere near the output `y`."""
    nodes, values, last = [], {}, "x"
    for place in range(WIDE):
        values[f"w{place}"] = random(32, 32, seed=place, scale=0.25)
        nodes += [
            helper.make_node("MatMul", [last, f"w{place}"], [f"m{place}"], name=f"product{place}"),
            helper.make_node("Tanh", [f"m{place}"], [f"t{place}"], name=f"bend{place}"),
        ]
        last = f"t{place}"
    values |= {"w": random(32, 16, seed=70), "v": random(32, 16, seed=71)}
    nodes += [
        helper.make_node("MatMul", ["t1", "v"], ["z"], name="aside"),
        helper.make_node("MatMul", [last, "w"], ["y"], name="head"),
    ]
    return graphs.model(nodes, values, X, {**Y, "z": Y["y"]})


def chain_job(tmp_path, **params):
    return graphs.job(tmp_path, chain(), X, {**Y, "z": Y["y"]}, xs(), **params)


def compared(job, made=None, **params):
    """What a stage has made of a job's graph, or another graph, held against it."""
    out = job.out.with_name("compared")
    out.mkdir()
    folder = job.out
    if made is not None:
        folder = job.out.with_name("made")
        folder.mkdir()
        artifact.write(made, folder)
    inputs = {**job.inputs, "made": folder}
    return layers.compare(replace(job, params={**job.params, **params}, inputs=inputs, out=out))


def broken(model, name, change):
    """The model with the values of one constant changed."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    (tensor,) = [t for t in made.graph.initializer if t.name == name]
    value = change(onnx.numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    return made


def shuffled(value):
    return np.random.default_rng(1).permutation(value.ravel()).reshape(value.shape)


SOME = [pytest.param(n, marks=[pytest.mark.slow] if n % 3 else []) for n in range(WIDE)]
"""Places in the chain, of which one in three is asked among the quick tests."""


@pytest.mark.parametrize("place", SOME)
@pytest.mark.parametrize("change", [shuffled, np.negative, lambda w: w * np.float32(1.1)])
def test_the_layer_whose_weights_are_disturbed_is_named(tmp_path, place, change):
    made = broken(chain(), f"w{place}", change)
    found = compared(chain_job(tmp_path), made, precision="fp32")
    assert found.first.value == f"m{place}"
    assert (found.first.node, found.first.operator) == (f"product{place}", "MatMul")
    assert found.first.own.used > 1
    behind = {one.value: one for one in found.layers}
    assert all(one.own.used <= 1 for one in found.layers if one != found.first)
    assert behind["y"].whole.used > 1
    assert ("z" in [one.value for one in found.missed]) == (place < 2)


@pytest.mark.parametrize("stage", [int8, qdq, fp16])
def test_what_a_stage_has_made_right_departs_nowhere(tmp_path, stage):
    precision = "fp16" if stage is fp16 else "int8"
    job = chain_job(tmp_path, precision=precision)
    stage.run(job)
    found = compared(job)
    assert not found.missed
    assert found.first is None
    assert {f"m{place}" for place in range(WIDE)} <= {one.value for one in found.layers}
    assert all(one.own.used <= 1 for one in found.layers)


@pytest.mark.parametrize("stage", [int8, qdq])
def test_one_quantised_matrix_that_is_broken_is_named_among_the_quantised(tmp_path, stage):
    job = chain_job(tmp_path)
    stage.run(job)
    model = artifact.read(job.out)
    matrices = [t.name for t in model.graph.initializer if t.data_type == 3 and len(t.dims) == 2]
    assert len(matrices) == WIDE + 2
    (name,) = [n for n in matrices if n.removeprefix("int8.").startswith("w4")]
    found = compared(job, broken(model, name, shuffled))
    assert found.first.value == "m4"
    assert len(found.first.operators) > 1


@pytest.mark.parametrize("stage", [int8, qdq])
def test_a_relu_that_a_quantiser_has_dropped_is_no_departure(tmp_path, stage):
    job = graphs.job(tmp_path, convolutional(), IMAGE, Y, images())
    stage.run(job)
    found = compared(job)
    assert found.first is None
    assert "r" in {one.value for one in found.layers}
    assert all(one.own.used <= 1 for one in found.layers)


def test_errors_that_only_add_up_have_no_layer_to_blame(tmp_path):
    made = chain()
    for name in (*(f"w{place}" for place in range(WIDE)), "w"):
        made = broken(made, name, lambda w: w * np.float32(1.0008))
    found = compared(chain_job(tmp_path), made, precision="fp32")
    assert [one.value for one in found.missed] == ["y"]
    assert found.first is None


def test_a_branch_that_no_missed_output_depends_on_is_not_to_blame(tmp_path):
    made = broken(broken(chain(), "v", shuffled), "w5", np.negative)
    goldens_of = chain_job(tmp_path)
    loose = [{"outputs": {"z": {"cosine": -1, "relative": 10}}}]
    found = compared(goldens_of, made, precision="fp32", tolerance=loose)
    assert [one.value for one in found.missed] == ["y"]
    assert found.first.value == "m5"
    assert "z" not in {one.value for one in found.behind}


def test_outputs_are_held_against_the_goldens(tmp_path):
    job = chain_job(tmp_path)
    path = job.inputs["reference"] / goldens.FILE
    wrong = [
        goldens.Golden(g.inputs, {n: -a for n, a in g.outputs.items()}) for g in goldens.read(path)
    ]
    goldens.write(path, wrong)
    found = compared(job, chain(), precision="fp32")
    assert {one.value for one in found.missed} == {"y", "z"}
    assert found.first is None


def test_masks_that_stand_for_infinity_are_no_departure_in_fp16(tmp_path):
    nodes = [
        helper.make_node("Less", ["x", "zero"], ["low"], name="low"),
        helper.make_node("Where", ["low", "mask", "x"], ["masked"], name="mask"),
        helper.make_node("Softmax", ["masked"], ["s"], name="soft"),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="head"),
    ]
    values = {
        "zero": np.float32(0),
        "mask": np.float32(-3.4e38),
        "w": random(32, 16, seed=3),
    }
    job = graphs.job(tmp_path, graphs.model(nodes, values, X, Y), X, Y, xs(), precision="fp16")
    fp16.run(job)
    found = compared(job)
    assert "masked" in {one.value for one in found.layers}
    assert all(max(one.own.used, one.whole.used) <= 1 for one in found.layers)


def test_values_are_asked_for_a_few_at_a_time(tmp_path, monkeypatch):
    asked = []
    cut = cuts.cut
    monkeypatch.setattr(cuts, "cut", lambda m, p, t, f: asked.append(len(p)) or cut(m, p, t, f))
    monkeypatch.setattr(layers, "BYTES", 3 * 128)
    found = compared(chain_job(tmp_path), broken(chain(), "w6", shuffled), precision="fp32")
    assert asked[0] == layers.FIRST
    assert set(asked[1:-1]) == {3}
    assert found.first.value == "m6"


def test_graphs_with_nothing_in_common_are_told(tmp_path):
    other = graphs.model(
        [helper.make_node("MatMul", ["x", "u"], ["q"])], {"u": random(32, 16)}, X, {"q": Y["y"]}
    )
    with pytest.raises(WorkFailedError, match="no value in common"):
        compared(chain_job(tmp_path), other)


def test_no_runtime_is_missing_and_a_build_brings_it(tmp_path):
    with pytest.raises(MissingError, match="runtime is not here") as caught:
        compared(replace(chain_job(tmp_path), runtime=tmp_path / "python"), chain())
    assert "triton-builder build" in caught.value.fix


def test_a_part_that_onnx_runtime_refuses_is_told(tmp_path):
    made = chain()
    made.graph.node[4].op_type = "Nonsense"
    with pytest.raises(WorkFailedError, match="refuses a part") as caught:
        compared(chain_job(tmp_path), made)
    assert "Nonsense" in caught.value.found


@pytest.mark.parametrize("file", [None, b"something else"])
def test_what_is_no_doing_of_onnx_runtime_is_not_called_its_refusal(tmp_path, file):
    job = chain_job(tmp_path)
    path = job.inputs["reference"] / goldens.FILE
    path.unlink()
    if file:
        path.write_bytes(file)
    with pytest.raises(WorkFailedError, match="not by its doing") as caught:
        compared(job, chain())
    assert ("not a file of goldens" if file else "FileNotFoundError") in caught.value.detail
    assert "layers_runner.py" in caught.value.detail


@pytest.mark.slow
@pytest.mark.export
def test_of_minilm_in_int8_the_one_matrix_that_is_broken_is_named(tmp_path, minilm_graph):
    job, _ = minilm(tmp_path, minilm_graph)
    int8.run(job)
    right = compared(job)
    assert right.first is None
    assert not right.missed
    assert len(right.layers) > 200
    job.out.with_name("compared").rename(tmp_path / "right")
    model = artifact.read(job.out)
    matrices = [t.name for t in model.graph.initializer if t.data_type == 3 and len(t.dims) == 2]
    node = next(
        n
        for n in model.graph.node
        if n.op_type == "MatMulIntegerToFloat" and matrices[20] in n.input
    )
    found = compared(job, broken(model, matrices[20], shuffled))
    assert [one.value for one in found.missed] == ["y"]
    assert node.op_type in found.first.operators
    made_by = {out: n for n in model.graph.node for out in n.output}
    ahead, seen = [found.first.value], set()
    while ahead:
        name = ahead.pop()
        if name in seen or name in found.first.sources or name not in made_by:
            continue
        seen.add(name)
        ahead += made_by[name].input
    assert node.output[0] in seen
