"""MiniLM's graph, for those who try their stage on a real model."""

import sys

import onnx
import pytest
from filelock import FileLock

from tests.stages.layers import export_minilm


@pytest.fixture(scope="session")
def minilm_graph(tmp_path_factory, request):
    """Its file; exported once, whoever of the test processes needs it first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    file = shared / "minilm.onnx"
    with FileLock(f"{file}.lock"), pytest.MonkeyPatch.context() as patched:
        if not file.exists():
            # tests/triton looks like a package `triton` to torch, which would take it for the
            # compiler
            patched.setitem(sys.modules, "triton", None)
            onnx.save(export_minilm(), file)
    return file
