"""What the release table says of each ONNX Runtime, asked of that ONNX Runtime itself.

Wheels come from PyPI, once, into the user's cache. The one of 24.03, 1.17.2, was never there: its
neighbours are asked in its place.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from onnx import TensorProto, helper

from builder.triton.opsets import WRITTEN, aim
from builder.triton.releases import table

if TYPE_CHECKING:
    from pathlib import Path

NEVER_ON_PYPI = {"1.17.2": ("1.17.1", "1.17.3")}
OPSETS, IR_VERSIONS = range(15, 31), range(7, 18)
LONE = 8
"""The IR version of the models whose opset counts, and an opset below all in question."""

ASK = """
import json, pathlib, sys
import onnxruntime as ort
options = ort.SessionOptions()
options.log_severity_level = 4
loaded = []
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    try:
        ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        loaded.append(path.stem)
    except Exception:
        pass
print(json.dumps([ort.__version__, loaded]))
"""


def expected() -> dict[str, tuple[int, int]]:
    """What the table says, by version of ONNX Runtime."""
    return {
        version: (row.loads.opset, row.loads.ir_version)
        for row in table().values()
        if row.onnxruntime
        for version in NEVER_ON_PYPI.get(row.onnxruntime, (row.onnxruntime,))
    }


VERSIONS = list(expected())
SOME = (VERSIONS[0], "1.19.2", VERSIONS[-1])
EACH = [
    pytest.param(v, marks=pytest.mark.slow if v in SOME else pytest.mark.campaign) for v in VERSIONS
]


def model(opset: int, ir_version: int) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, [2])],
    )
    imports = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    return made.SerializeToString()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """Models of every opset at a low IR version, and of every IR version at a low opset."""
    folder = tmp_path_factory.mktemp("models")
    for opset in OPSETS:
        (folder / f"opset-{opset}.onnx").write_bytes(model(opset, LONE))
    for ir_version in IR_VERSIONS:
        (folder / f"ir-{ir_version}.onnx").write_bytes(model(OPSETS[0], ir_version))
    written = WRITTEN.opset, WRITTEN.ir_version
    for opset, ir_version in {written, *(_aims().values())}:
        (folder / f"written-{opset}-{ir_version}.onnx").write_bytes(model(opset, ir_version))
    return folder


def _aims() -> dict[str, tuple[int, int]]:
    rows = [row for row in table().values() if row.onnx]
    aims = {row.name: aim(row.loads) for row in rows}
    return {name: (one.opset, one.ir_version) for name, one in aims.items()}


def wheel(cache: Path, version: str) -> Path:
    """A folder with that ONNX Runtime, for PYTHONPATH."""
    folder = cache / "test-onnxruntimes" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            made = folder.with_name(f".{version}-{os.getpid()}")
            shutil.rmtree(made, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            only = ["--only-binary", ":all:", "--target", str(made)]
            subprocess.run([*pip, *only, f"onnxruntime=={version}"], check=True)
            made.rename(folder)
    return folder


@pytest.mark.parametrize("version", EACH)
def test_an_onnxruntime_loads_just_what_the_table_says(version, cache, models):
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(models)],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(wheel(cache, version))},
    )
    own, loaded = json.loads(done.stdout.splitlines()[-1])
    assert own == version
    opset, ir_version = expected()[version]
    assert [n for n in OPSETS if f"opset-{n}" in loaded] == list(range(OPSETS[0], opset + 1))
    found = [n for n in IR_VERSIONS if f"ir-{n}" in loaded]
    assert found == list(range(IR_VERSIONS[0], ir_version + 1))
    aims = {f"written-{o}-{i}" for name, (o, i) in _aims().items() if _runs(name, version)}
    assert aims <= {*loaded}


def _runs(release: str, version: str) -> bool:
    own = table()[release].onnxruntime or ""
    return version in NEVER_ON_PYPI.get(own, (own,))
