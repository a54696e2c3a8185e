"""The probe that lies in the tree."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from builder.triton import wire
from builder.validation.checks import probe
from builder.validation.client import RefusedError

if TYPE_CHECKING:
    from builder.validation.case import Case

pytestmark = pytest.mark.live


def test_the_probe_in_the_tree_is_answered(sound, case, zoo):
    assert probe.probe(sound).passed
    assert probe.probe(case(zoo.add_ensemble("around", "sound"))).passed


def test_probe_fails_on_wrong_numbers(case, zoo):
    finding = probe.probe(case(zoo.add("wrong_numbers", fault="return -x")))
    assert not finding.passed
    assert finding.found.startswith("Y: cosine -1.0")


def test_probe_fails_where_another_version_answers(sound):
    other = dataclasses.replace(sound.version.probe, number=1)
    finding = probe.probe(with_probe(sound, other))
    assert not finding.passed
    assert finding.found == "version 2 answered where 1 was asked"


def test_probe_fails_where_nothing_can_be_read(sound):
    x = wire.Tensor("X", "FP32", (1, 4), bytes(16))
    header, body = wire.request([x], [])  # asks for no output as bytes
    other = dataclasses.replace(sound.version.probe, header=header, body=body)
    finding = probe.probe(with_probe(sound, other))
    assert not finding.passed
    assert "no answer that can be read" in finding.found


def test_a_probe_that_the_server_refuses_is_a_refusal(sound):
    other = dataclasses.replace(sound.version.probe, path="/v2/models/sound/versions/9/infer")
    with pytest.raises(RefusedError, match="unknown model"):
        probe.probe(with_probe(sound, other))


def test_without_a_probe_nothing_is_asked(sound):
    assert probe.probe(with_probe(sound, None)) is None


def with_probe(case: Case, asked) -> Case:
    return dataclasses.replace(case, version=dataclasses.replace(case.version, probe=asked))
