"""What a pod asks with: all that it imports, and nothing that a server's Python lacks."""

import ast
import subprocess
import sys

import pytest

from builder.deploy import bundle

OLDEST = (3, 10)
"""The Python of Triton 24.04's and 24.10's images."""


@pytest.fixture
def folder(tmp_path):
    for name, text in bundle.files().items():
        (tmp_path / name).write_text(text)
    return tmp_path


def _run(folder, *arguments):
    return subprocess.run(
        [sys.executable, *bundle.FLAGS, str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )


def test_it_runs_out_of_a_folder_of_files(folder, tmp_path):
    done = _run(folder, "started", str(tmp_path / "no-such-tree"))
    assert done.returncode == 1
    assert "no release lies there" in done.stdout
    assert not done.stderr
    done = _run(folder, "alive", str(tmp_path), "--address=127.0.0.1:9")
    assert done.returncode == 1
    assert "refused" in done.stdout


def test_it_leaves_nothing_behind(folder):
    before = sorted(folder.rglob("*"))
    _run(folder, "alive", str(folder), "--address=127.0.0.1:9")
    assert sorted(folder.rglob("*")) == before


def test_it_holds_all_of_ours_that_it_imports_and_else_the_standard_library():
    ours = {name.removesuffix(".py") for name in bundle.files()}
    for name, text in bundle.files().items():
        for module in _imports(ast.parse(text, name, feature_version=OLDEST)):
            known = module in ours or module.rpartition(".")[0] in ours
            assert known or module.partition(".")[0] in sys.stdlib_module_names, f"{name}: {module}"


def _imports(tree):
    """What is imported when it runs: not for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from _imports(node)
