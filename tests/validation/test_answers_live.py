"""Whether each version's answers are its own, and right."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builder.stages.goldens import Golden
from builder.validation.case import Case
from builder.validation.checks import accuracy, batching, numbers, readiness, requests, versions
from builder.validation.subject import AccuracyGate
from tests.validation.zoo import ALL, goldens

pytestmark = pytest.mark.live


def test_goldens_agree(sound):
    finding = numbers.goldens(sound)
    assert finding.passed
    assert finding.figures["cosine"] > 0.99999


def test_goldens_fail_on_wrong_numbers(case, zoo):
    finding = numbers.goldens(case(zoo.add("wrong", fault="x = x + np.float32([0, 0, 0, 0.5])")))
    assert not finding.passed
    assert finding.reason.startswith("golden 0 over grpc, output Y: cosine")
    assert "cosine at least 0.9999" in finding.expected


def test_goldens_fail_on_a_dead_stub(case, zoo):
    from builder.validation.client import RefusedError

    with pytest.raises(RefusedError, match=r"[Ss]tub"):
        numbers.goldens(case(zoo.add("dead", fault="os._exit(1)")))


def test_a_version_without_goldens_proves_nothing(sound):
    none = dataclasses.replace(sound.version, goldens=())
    assert not numbers.goldens(dataclasses.replace(sound, version=none)).passed


# versions


def test_versions_answer_by_number_and_the_latest_without(sound):
    assert versions.version(sound).passed
    first = dataclasses.replace(sound, version=sound.subject.versions[0])
    assert versions.version(first).passed


def test_version_fails_where_another_one_is_the_default(sound):
    other = dataclasses.replace(sound.subject, default=1)
    finding = versions.version(dataclasses.replace(sound, subject=other))
    assert not finding.passed
    assert finding.reason == "asked for no version, another version answered"
    assert (finding.expected, finding.found) == ("version 1", "version 2")


def test_version_fails_where_a_number_hides_the_numbers_of_another(case, zoo):
    swapped = zoo.add("swapped", fault="return x * 2", config=ALL, versions=(1, 2))
    finding = versions.version(case(swapped))
    assert not finding.passed
    assert "does not hold its numbers" in finding.reason


# accuracy


def gate(top1: float) -> AccuracyGate:
    rows = np.random.default_rng(3).standard_normal((40, 4)).astype(np.float32)
    labels = rows.argmax(axis=1)
    labels[:4] = (labels[:4] + 1) % 4
    return AccuracyGate({"X": rows}, labels, "Y", top1)


@pytest.mark.parametrize(("top1", "passes"), [(0.9, True), (0.91, False)])
def test_accuracy_is_measured_through_the_server(sound, top1, passes):
    gated = dataclasses.replace(sound.version, accuracy=gate(top1))
    finding = accuracy.accuracy(dataclasses.replace(sound, version=gated))
    assert finding.passed is passes
    assert finding.figures["top1"] == 0.9


# shapes


def test_rows_of_one_number_travel_with_the_dimension_that_triton_wants(server, client, zoo):
    from builder.spec.tensor import Tensor

    described = zoo.add(
        "scalar",
        inputs={"X": Tensor(dtype="float32", shape=("batch",))},
        outputs={"Y": Tensor(dtype="float32", shape=("batch",))},
    )
    text = described.config.replace("dims: 4", "dims: 1")
    (zoo.root / "scalar" / "config.pbtxt").write_text(text)
    flat = tuple(
        Golden({"X": g.inputs["X"][:, 0]}, {"Y": g.outputs["Y"][:, 0]}) for g in goldens(2)
    )
    version = dataclasses.replace(described.versions[0], goldens=flat)
    described = dataclasses.replace(described, config=text, versions=(version,))
    assert readiness.load(client, server, described).refusal is None
    case = Case(server, client, described, version)
    assert numbers.goldens(case).passed
    assert batching.batch(case).passed
    assert requests.errors(case).passed
