"""What a server makes of requests that are wrong or late, and of all kinds of data."""

from __future__ import annotations

import pytest

from builder.validation.checks import data, queue, requests
from builder.validation.probes import DTYPES, identity_config
from tests.validation.rebuilt import rebuilt
from tests.validation.zoo import BATCHING, QUEUE

pytestmark = pytest.mark.live


def test_wrong_requests_are_refused_cleanly(sound):
    finding = requests.errors(sound)
    assert finding.passed, finding
    assert finding.figure == "12 wrong requests"


def test_errors_fail_where_an_over_large_batch_is_answered(sound):
    finding = requests.errors(rebuilt(sound, "max_batch_size: 8", "max_batch_size: 4"))
    assert not finding.passed
    assert finding.reason == "batch of 5, 4 allowed over grpc: it was answered"


def test_errors_fail_where_the_answers_after_them_are_wrong(case, zoo):
    broken = case(zoo.add("broken", fault="x = -x"))
    finding = requests.errors(broken)
    assert not finding.passed
    assert "a right one gets a wrong answer" in finding.reason


# the queue


def test_late_requests_are_rejected(sound):
    finding = queue.queue(sound)
    assert finding.passed, finding
    assert finding.figures["rejected"] > 0


def test_queue_fails_where_nothing_is_rejected(case, zoo):
    policy = QUEUE.replace("allow_timeout_override: true", "")
    finding = queue.queue(case(zoo.add("patient", config=policy, timeout_us=5_000_000)))
    assert not finding.passed
    assert finding.found == "every one was served late"


def test_queue_is_not_asked_without_a_timeout(case, zoo):
    assert queue.queue(case(zoo.add("unhurried", config=BATCHING))) is None


# data


def test_data_survives(client):
    finding = data.data(client)
    assert finding.passed, finding
    assert finding.figures["arrays"] > 70


@pytest.mark.parametrize("dtype", ["FP32", "STRING", "BOOL"])
def test_data_fails_on_one_altered_element(client, zoo, dtype):
    """As NumPy 2 does it in the stub of 24.10, only less."""
    name = f"altering_{dtype.lower()}"
    folder = zoo.root / name / "1"
    folder.mkdir(parents=True)
    text = identity_config().replace("builder_probe_identity", name)
    (folder.parent / "config.pbtxt").write_text(text)
    (folder / "model.py").write_text(ALTERING.replace("DTYPE", dtype))
    finding = data.data(client, probe=name)
    assert not finding.passed
    assert finding.reason.startswith(f"{dtype} data is altered")
    assert "instead of" in finding.found


ALTERING = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse([self.back(t) for t in r.inputs()]) for r in requests]

    def back(self, tensor):
        array = tensor.as_numpy().copy()
        if tensor.name() == "DTYPE" and array.size > 1:
            array[1] = array[0]
        return pb_utils.Tensor(tensor.name() + "_BACK", array)
"""


def test_the_probe_has_every_dtype_of_the_spec():
    from typing import get_args

    from builder.spec.tensor import DType

    assert len(DTYPES) == len(get_args(DType))
