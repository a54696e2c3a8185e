"""What is a refusal of ONNX Runtime's, and what is not."""

import sys
from pathlib import Path

import numpy as np
import pytest

from builder.errors import WorkFailedError
from builder.stages import artifact, runtime
from builder.stages.job import Job
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


def test_words_that_are_no_text_are_told_all_the_same(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.stderr.buffer.write(b'gone: \\xff\\n')\nsys.exit(3)\n")
    job = Job({"onnxruntime": "1"}, {}, tmp_path, tmp_path, "x", runtime=Path(sys.executable))
    with pytest.raises(WorkFailedError, match="not by its doing") as caught:
        runtime.ask(job, script, result=tmp_path / "result.json", about="the model")
    assert caught.value.found == "gone: \N{REPLACEMENT CHARACTER}"
