"""What validation decides without a server: order of loading, requests, bounds, figures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builder.spec.tensor import Tensor
from builder.spec.tolerance import OutputTolerance
from builder.stages.goldens import Golden
from builder.validation.case import Case, first_reason, stacked
from builder.validation.checks.accuracy import predicted
from builder.validation.checks.config import flat, metadata, unlike, with_defaults
from builder.validation.checks.data import altered, examples
from builder.validation.checks.latency import percentile
from builder.validation.checks.readiness import failed_sample
from builder.validation.checks.requests import wrong_requests
from builder.validation.probes import DTYPES, probes
from builder.validation.subject import in_load_order
from builder.validation.verdict import Verdict, failed, passed
from tests.validation.zoo import QUEUE, TENSORS, goldens, subject, warmup

TEXT = f'name: "m"\nbackend: "python"\n{TENSORS}'


def case(described) -> Case:
    return Case(None, None, described, described.versions[-1])


def parse(text):
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


# order


def test_members_load_before_ensembles_of_any_depth():
    leaf, other = subject("leaf", TEXT), subject("other", TEXT)
    inner = subject("inner", TEXT, ensemble=True, members=("leaf",))
    outer = subject("outer", TEXT, ensemble=True, members=("inner", "other", "absent"))
    order = [s.name for s in in_load_order([outer, other, inner, leaf])]
    assert order == ["leaf", "inner", "other", "outer"]


# verdicts


def test_a_verdict_without_findings_proves_nothing():
    assert not Verdict("m", "1", 1, "server", ()).passed


def test_a_verdict_passes_when_every_finding_did():
    good, bad = passed("a", "1", "fine"), failed("b", "no", expected=1, found=2)
    assert Verdict("m", "1", 1, "server", (good,)).passed
    verdict = Verdict("m", "1", 1, "server", (good, bad))
    assert not verdict.passed
    assert verdict.failures == (bad,)
    assert (bad.expected, bad.found, bad.figure) == ("1", "2", "2")


# requests


def test_goldens_of_many_rows_are_taken_apart():
    batch = Golden({"X": np.eye(4, dtype=np.float32)}, {"Y": np.ones((4, 4), np.float32)})
    described = subject("m", TEXT)
    version = dataclasses.replace(described.versions[0], goldens=(batch,))
    rows = Case(None, None, described, version).rows()
    assert [row.inputs["X"].tolist() for row in rows] == [[r.tolist()] for r in np.eye(4)]


def test_only_requests_of_the_commonest_shape_go_into_one_batch():
    odd = Golden({"X": np.zeros((1, 7), np.float32)}, {"Y": np.zeros((1, 4), np.float32)})
    padded = Golden({"X": np.zeros((1, 4), np.float32)}, {"Y": np.zeros((1, 9), np.float32)})
    described = subject("m", TEXT)
    group = (odd, padded, *goldens(2, count=2))
    version = dataclasses.replace(described.versions[0], goldens=group)
    alike = Case(None, None, described, version).alike(5)
    assert [row.inputs["X"].shape for row in alike] == [(1, 4)] * 5
    assert [row.outputs["Y"].shape for row in alike] == [(1, 4)] * 5
    assert stacked(alike)["X"].shape == (5, 4)


def test_a_model_that_does_not_batch_is_asked_its_goldens_whole():
    described = dataclasses.replace(subject("m", TEXT), batched=False)
    assert case(described).rows() == list(described.versions[0].goldens)
    assert not case(described).batches


def test_each_wrong_request_is_wrong_in_one_way():
    good = {"X": np.ones((1, 4), np.float32), "MASK": np.ones((1, 4), np.int64)}
    wrong = {w.what: w for w in wrong_requests(good, largest=8)}
    assert wrong["wrong dtype"].inputs["X"].dtype == np.int32
    assert wrong["wrong rank"].inputs["X"].shape == (1, 4, 1)
    assert set(wrong["missing input"].inputs) == {"MASK"}
    assert wrong["batch of 9, 8 allowed"].inputs["MASK"].shape == (9, 4)
    assert all(w.inputs["MASK"].dtype == np.int64 for w in wrong.values())
    unbatched = [w.what for w in wrong_requests(good, largest=0)]
    assert not any(what.startswith("batch") for what in unbatched)


def test_scalars_of_a_spec_travel_as_triton_declares_them():
    text = TEXT.replace("dims: 4", "dims: 1")
    shape = Tensor(dtype="float32", shape=("batch",))
    described = subject("m", text, inputs={"X": shape}, outputs={"Y": shape})
    flat_row = np.ones(3, np.float32)
    sent = case(described).sent({"X": flat_row})
    assert sent["X"].shape == (3, 1)
    assert case(described).received({"Y": sent["X"]})["Y"].shape == (3,)


# bounds


def test_company_bounds_are_the_precisions_unless_the_spec_is_looser():
    described = subject("m", TEXT)
    assert case(described).company()["Y"].relative == 1e-3  # as the spec asks
    loose = dataclasses.replace(
        described.versions[0],
        precision="int8",
        tolerance={"Y": OutputTolerance(cosine=0.9, mismatch=0.3)},
    )
    bounds = Case(None, None, described, loose).company()["Y"]
    assert (bounds.cosine, bounds.mismatch, bounds.relative) == (0.9, 0.3, None)


def test_an_output_that_did_not_come_disagrees():
    golden = goldens(2, count=1)[0]
    found = case(subject("m", TEXT)).agreement(golden.outputs, {}, {})
    assert first_reason(found) == "Y: the answer does not hold this output"


# config


def test_the_servers_own_defaults_are_filled_in_and_nothing_else():
    built = parse(TEXT + "dynamic_batching {}\n")
    full = with_defaults(built, parse(""))
    added = {path: value for path, _, value in unlike(flat(built), flat(full))}
    assert added == {
        "dynamic_batching": "not set",
        "dynamic_batching.preferred_batch_size[0]": "8",
        "instance_group[0].name": "m_0",
        "optimization.input_pinned_memory.enable": "True",
        "optimization.output_pinned_memory.enable": "True",
        "version_policy.latest.num_versions": "1",
    }


def test_what_the_spec_set_is_not_overwritten_by_defaults():
    own = "optimization { input_pinned_memory { enable: false } }\n"
    full = with_defaults(parse(TEXT + QUEUE + own), parse(""))
    assert not full.optimization.input_pinned_memory.enable
    assert list(full.dynamic_batching.preferred_batch_size) == [4]


def test_metadata_follows_from_the_config():
    assert metadata(parse(TEXT + warmup(1)))["inputs"] == [("X", "FP32", (-1, 4))]
    plain = TEXT.replace("max_batch_size: 8", "").replace("TYPE_FP32", "TYPE_STRING")
    assert metadata(parse(plain))["outputs"] == [("Y", "BYTES", (4,))]


def test_the_sample_that_a_load_blames_is_read_from_its_message():
    message = "version 2 is at UNAVAILABLE state: failed to run warmup sample 'batch 4': oops"
    assert failed_sample(message) == "batch 4"
    assert failed_sample("no such file") is None


# data and figures


def test_examples_cover_every_dtype_and_are_empty_once():
    names = {name for name, _ in examples(json=False)}
    assert names == set(DTYPES)
    assert all(any(a.size == 0 for n, a in examples(json=False) if n == d) for d in DTYPES)


@pytest.mark.parametrize("json", [True, False])
def test_one_flipped_element_is_found_wherever_it_is(json):
    for _, array in examples(json=json):
        assert altered(array, array.copy()) is None
        if array.size:
            other = array.copy()
            other[-1] = b"else" if array.dtype == object else not other[-1]
            assert altered(array, other)
    assert altered(np.float32([np.nan]), np.float32([np.nan])) is None
    assert altered(np.float32([0.0]), np.float32([-0.0]))


def test_probes_are_a_repository_of_their_own(tmp_path):
    folder = probes(tmp_path / "probes")
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert files == [
        "builder_probe_identity/1/model.py",
        "builder_probe_identity/config.pbtxt",
    ]


def test_a_class_is_the_largest_element_or_the_first_integer():
    scores = np.float32([[0.1, 0.9], [0.8, 0.2]])
    assert predicted(scores, 2).tolist() == [1, 0]
    assert predicted(np.int64([[7, 3], [5, 1]]), 2).tolist() == [7, 5]


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(n) for n in range(1, 101)]
    assert percentile(values, 0.99) == 99.0
    assert percentile([3.0], 0.99) == 3.0
