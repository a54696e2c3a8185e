"""What is a refusal of ONNX Runtime's, and what is not."""

import numpy as np
import pytest

from builder.stages import artifact, runtime
from tests.stages import graphs
from tests.stages.graphs import X, Y, helper


def test_what_onnx_runtime_raises_is_its_refusal_in_its_words(tmp_path):
    running = artifact.session(graphs.layer())
    with pytest.raises(runtime.RefusedError, match="InvalidArg") as caught, runtime.refusals():
        running.run(None, {"x": graphs.random(1, 7)})
    assert "invalid dimensions" in str(caught.value)
    artifact.write(graphs.model([helper.make_node("Nonsense", ["x"], ["y"])], {}, X, Y), tmp_path)
    with pytest.raises(runtime.RefusedError, match="Nonsense"):
        runtime.session(tmp_path / artifact.FILE)


def test_too_little_memory_is_not():
    with pytest.raises(MemoryError), runtime.refusals():
        np.empty(1 << 58)


def test_a_file_that_is_not_there_is_not(tmp_path):
    with pytest.raises(FileNotFoundError), runtime.refusals():
        np.load(tmp_path / "none.npy")
