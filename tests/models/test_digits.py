import hashlib

import numpy as np
import pytest

from tests.models.sources import MODELS, read, yaml_of

pytestmark = pytest.mark.export

WEIGHTS = MODELS / "digits" / "weights.safetensors"


def test_held_out_accuracy_is_above_the_gate():
    import torch

    digits = read("digits")
    inputs, labels = digits.held_out()
    with torch.no_grad():
        logits = digits.load(weights=WEIGHTS)(torch.from_numpy(inputs["image"])).numpy()
    assert labels.dtype == np.int64
    assert (logits.argmax(axis=1) == labels).mean() >= yaml_of("digits")["accuracy"]["top1"]["fp32"]


def test_no_held_out_image_is_trained_on_or_sampled():
    digits = read("digits")
    (train, _), (held, _) = digits.split()
    rows = {row.tobytes() for sample in digits.samples() for row in sample["image"]}
    assert len(train) + len(held) == 1797
    assert rows <= {row.tobytes() for row in train}
    assert rows.isdisjoint(row.tobytes() for row in held)


def test_weights_are_those_of_the_spec_and_small():
    data = WEIGHTS.read_bytes()
    assert hashlib.sha256(data).hexdigest() == yaml_of("digits")["weights_sha256"]
    assert len(data) < 200_000
