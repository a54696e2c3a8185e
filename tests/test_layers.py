"""Imports point one way, and heavy packages stay out of start-up."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "builder"

LAYERS = (
    ("errors",),
    ("files",),
    ("spec", "scaffold"),
    ("triton",),
    ("plan",),
    ("repository",),
    ("remote", "servers", "stages"),
    ("store",),
    ("engine",),
    ("validation",),
    ("report",),
    ("flow",),
    ("release",),
    ("agent", "deploy"),
    ("console",),
    ("cli",),
    ("__main__",),
)
"""From the ground up: a module imports from its own row, if from its own part, or below."""

HEAVY = {
    "torch",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "tensorrt_rtx",
    "polygraphy",
    "tritonclient",
    "ray",
    "obstore",
    "transformers",
    "numpy",
    "grpc",
    "jinja2",
    "google.protobuf",
}

SOURCES = sorted(p for p in PACKAGE.rglob("*.py") if "templates" not in p.parts)

MODULES = sorted(
    p.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".")
    for p in PACKAGE.rglob("*.py")
    if not {"backends", "probes", "templates"} & set(p.parts)
    and not p.name.endswith(("_runner.py", "__main__.py"))
)


def _level(part):
    return next(i for i, row in enumerate(LAYERS) if part in row)


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("builder"):
            if node.module == "builder":
                yield from (f"builder.{a.name}" for a in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if own == "__init__":
        return
    for module in _imports(path):
        part = module.split(".")[1]
        if part in {own, "__version__"}:
            continue
        assert _level(part) < _level(own), f"{path.name} imports {module}"


def test_every_part_has_its_place():
    parts = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir()} - {"__init__"}
    assert parts - {"__pycache__"} == {part for row in LAYERS for part in row}


def _imported_by(code):
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_command_line_imports_nothing_heavy():
    loaded = _imported_by(
        "import builder.cli.main, builder.flow.build, builder.flow.context, builder.spec.project\n"
        "import builder.engine.worker, builder.servers.embedded.install, builder.flow.verdicts"
    )
    assert not loaded & HEAVY


BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import importlib
for name in {modules}:
    importlib.import_module(name)
"""


def test_every_module_imports_where_nothing_heavy_is_installed():
    absent = (HEAVY - {"numpy"}) | {"google", "rich", "psutil", "safetensors"}
    script = BLOCK.format(absent=absent, modules=MODULES)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
