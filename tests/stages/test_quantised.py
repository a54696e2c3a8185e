"""What holds for both kinds of int8, a CPU's and a GPU's."""

from dataclasses import replace

import numpy as np
import pytest

from builder.errors import WorkFailedError
from builder.stages import artifact, int8, prove, qdq
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper, random, xs
from tests.stages.layers import IMAGE, answer, between, convolutional, images

SUBJECTS = {
    "layer": (graphs.layer, X, xs),
    "linear": (between, X, xs),
    "convolutional": (convolutional, IMAGE, images),
}


@pytest.fixture(params=[int8, qdq], ids=["int8", "qdq"])
def stage(request):
    return request.param


@pytest.fixture(params=SUBJECTS)
def subject(request):
    graph, inputs, samples = SUBJECTS[request.param]
    return graph(), inputs, Y, samples()


def test_inputs_and_outputs_are_the_spec_s(tmp_path, stage, subject):
    graph = subject[0]
    job = graphs.job(tmp_path, *subject)
    stage.run(job)
    made = artifact.read(job.out).graph
    assert list(made.input) == list(graph.graph.input)
    assert list(made.output) == list(graph.graph.output)


def test_equal_inputs_give_equal_bytes(tmp_path, stage, subject):
    jobs = [graphs.job(tmp_path / name, *subject) for name in ("one", "two")]
    for job in jobs:
        stage.run(job)
    first, second = (job.out / artifact.FILE for job in jobs)
    assert first.read_bytes() == second.read_bytes()


def test_an_answer_does_not_depend_on_its_batch_mates(tmp_path, stage):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    stage.run(job)
    row, mate = random(1, 32, seed=50), random(1, 32, seed=51, scale=1000.0)
    together = answer(job.out, {"x": np.concatenate([row, mate])})
    np.testing.assert_allclose(together[:1], answer(job.out, {"x": row}), rtol=1e-4)


@pytest.mark.parametrize("kind", [(int8, 0.999), (qdq, 0.99)], ids=["int8", "qdq"])
def test_channels_that_stand_out_do_not_drown_the_others(tmp_path, kind):
    stage, least = kind
    samples = xs()
    for sample in samples:
        sample["x"][:, 3] *= 300
    values = {"w": random(32, 16, seed=1)}
    values["w"][3] /= 300
    graph = graphs.model([helper.make_node("MatMul", ["x", "w"], ["y"])], values, X, Y)
    facts = stage.run(graphs.job(tmp_path, graph, X, Y, samples))
    assert facts["agreement"]["y"]["cosine_min"] > least


def test_a_graph_with_nothing_to_quantise_is_refused(tmp_path, stage):
    y = {"y": X["x"]}
    graph = graphs.model([helper.make_node("Tanh", ["x"], ["y"])], {}, X, y)
    with pytest.raises(WorkFailedError, match="nothing in this graph") as caught:
        stage.run(graphs.job(tmp_path, graph, X, y, xs()))
    assert caught.value.where == "thing 1.0"
    assert f"precision: {'fp32' if stage is int8 else 'fp16'}" in caught.value.fix


def test_a_missed_tolerance_names_the_best_recipe_its_figures_and_the_fix(tmp_path, stage):
    strict = [{"outputs": {"y": {"relative": 1e-9}}}]
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs(), tolerance=strict)
    with pytest.raises(WorkFailedError, match="int8 recipes keeps the tolerance") as caught:
        stage.run(job)
    for words in ("alpha=", "relative", "smooth-rowwise" if stage is int8 else "static-pairs"):
        assert words in caught.value.found
    assert "recipe: accurate" in caught.value.fix
    assert f"precision: {'fp32' if stage is int8 else 'fp16'}" in caught.value.fix
    assert not list(job.out.iterdir())


def test_what_was_made_is_proven_alone_and_in_a_batch(tmp_path, stage):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    stage.run(job)
    made = {"onnx": job.out, "reference": job.inputs["reference"]}
    facts = prove.run(replace(job, inputs=made, out=tmp_path / "proof"))
    assert (facts["samples"], facts["batches"]) == (8, 1)


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_a_machine_that_is_full_is_no_recipe_that_fails(tmp_path, monkeypatch, stage, error):
    job = graphs.job(tmp_path, graphs.layer(), X, Y, xs())
    graphs.on_a_full_machine(monkeypatch, error, lambda: stage.run(job))
