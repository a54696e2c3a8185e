"""What a source depends on beside the files that it opens: imports, folders, installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from builder.stages.usercode import source
from builder.stages.usercode.imports import LOADED
from builder.stages.usercode.listings import listing
from builder.store.digests import MISSING, FileDigests, of_read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOLDER = "models/x"


def write(project: Path, text: str, name: str = "source.py") -> Path:
    path = project / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def reads(project: Path, name: str = "source.py") -> dict[str, str]:
    """What a source's `go` reads, with the digests."""
    function = source.function(f"{FOLDER}/{name}:go", project)
    facts: dict[str, Any] = source.invoke(function, doing="asking")[1].facts(project)
    return digests(project, facts["reads"])


def digests(project: Path, names: list[str]) -> dict[str, str]:
    files = FileDigests(project / "no index")
    return {name: of_read(name, project, files) for name in names}


def changed(project: Path, before: dict[str, str]) -> list[str]:
    now = digests(project, list(before))
    return [name for name in before if now[name] != before[name]]


def of_kind(found: dict[str, str], kind: str) -> dict[str, str]:
    """By what follows on the kind; below the model's folder."""
    start = f"{kind}:"
    names = [name for name in found if name.startswith(start)]
    return {n.removeprefix(start).removeprefix(f"{FOLDER}/"): found[n] for n in names}


# --- imports -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "import absent",
        "import absent.deep",
        "from absent import name",
        "__import__('absent')",
        "importlib.import_module('absent')",
        "assert importlib.util.find_spec('absent')",
    ],
)
def test_a_module_that_is_not_found_is_an_input(tmp_path, statement):
    body = f"try:\n    {statement}\nexcept (ImportError, AssertionError):\n    pass"
    write(tmp_path, f"import importlib.util\n{body}\ndef go(): ...\n")
    found = reads(tmp_path)
    assert of_kind(found, "module") == {"absent": MISSING}
    write(tmp_path, "", "absent.py")
    assert changed(tmp_path, found) == ["module:models/x/absent"]


@pytest.mark.parametrize(
    "file", ["layers/__init__.py", "layers.abi3.so", "layers/__init__.abi3.so"]
)
def test_what_an_import_would_find_first_is_an_input(tmp_path, file):
    write(tmp_path, "", "layers.py")
    write(tmp_path, "import layers\ndef go(): ...\n")
    found = reads(tmp_path)
    write(tmp_path, "", file)
    assert changed(tmp_path, found) == ["module:models/x/layers"]


@pytest.mark.parametrize("file", ["layers/deep.py", "layers.pyc", "layers.txt", "other.py"])
def test_what_an_import_would_find_later_or_never_is_no_input(tmp_path, file):
    write(tmp_path, "", "layers.py")
    write(tmp_path, "import layers\ndef go(): ...\n")
    found = reads(tmp_path)
    write(tmp_path, "", file)
    assert changed(tmp_path, found) == []


def test_an_installed_package_could_be_found_beside_the_source_first(tmp_path):
    write(tmp_path, "import yaml\nfrom yaml import nodes\ndef go(): ...\n")
    assert of_kind(reads(tmp_path), "module") == {"yaml": MISSING}


def test_modules_of_the_users_packages_are_looked_for_in_these(tmp_path):
    write(tmp_path, "from . import inner\nfrom .inner import value\nhere = 1\n", "pack/__init__.py")
    write(tmp_path, "value = 1\n", "pack/inner.py")
    write(
        tmp_path,
        """
        from pack import here
        try:
            from pack import absent
        except ImportError:
            pass
        def go(): ...
        """,
    )
    assert of_kind(reads(tmp_path), "module") == {
        "pack": "/__init__.py",
        "pack/absent": MISSING,
        "pack/inner": ".py",
    }


def test_a_namespace_package_is_found_last(tmp_path):
    write(tmp_path, "", "space/inner.py")
    write(tmp_path, "import space.inner\ndef go(): ...\n")
    found = reads(tmp_path)
    assert of_kind(found, "module") == {"space": "/", "space/inner": ".py"}
    write(tmp_path, "", "space.py")
    assert changed(tmp_path, found) == ["module:models/x/space"]


def test_imports_are_seen_where_the_modules_are_loaded_already(tmp_path):
    write(tmp_path, "import statistics, layers\ndef go(): import yaml\n")
    write(tmp_path, "import fractions\n", "layers.py")
    write(tmp_path, "import layers\ndef go(): ...\n", "samples.py")
    assert reads(tmp_path).keys() == reads(tmp_path).keys()
    assert of_kind(reads(tmp_path), "module").keys() == {
        *("statistics", "layers", "fractions", "yaml"),
    }
    other = reads(tmp_path, "samples.py")
    assert "models/x/layers.py" in other
    assert of_kind(other, "module").keys() == {"layers", "fractions"}


def test_what_libraries_import_and_what_nothing_can_come_before_is_no_input(tmp_path):
    lines = "".join(f"import {name}\n" for name in sorted(LOADED - {"__future__", "torch"}))
    write(tmp_path, f"from __future__ import annotations\n{lines}import os, sys\ndef go(): ...\n")
    found = reads(tmp_path)
    assert of_kind(found, "module") == {}
    assert of_kind(found, "distribution").keys() == {"numpy"}


def test_what_is_said_to_be_loaded_before_any_source_is(tmp_path):
    code = "import sys, builder.engine.worker, builder.stages.usercode.source as _; "
    code += f"print({LOADED!r} - {{*sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout.decode().strip() == "frozenset({'torch'})"


def test_a_helper_that_appears_is_imported_by_the_same_worker(tmp_path):
    write(
        tmp_path,
        "try:\n    import late\nexcept ImportError:\n    late = None\ndef go(): return late\n",
    )
    function = source.function(f"{FOLDER}/source.py:go", tmp_path)
    assert function.call() is None
    write(tmp_path, "", "late.py")
    assert source.function(f"{FOLDER}/source.py:go", tmp_path).call() is not None


# --- distributions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "import yaml",
        "import yaml.nodes as nodes",
        "from yaml import nodes",
        "importlib.import_module('yaml.nodes')",
    ],
)
def test_the_distribution_of_an_imported_package_is_an_input(tmp_path, statement):
    write(tmp_path, f"import importlib\ndef go():\n    {statement}\n")
    assert of_kind(reads(tmp_path), "distribution").keys() == {"PyYAML"}


def test_own_packages_standard_library_and_namespaces_are_no_distributions(tmp_path):
    write(tmp_path, "import yaml\n", "pack/__init__.py")
    write(tmp_path, "import pack, statistics, google.protobuf\ndef go(): ...\n")
    assert of_kind(reads(tmp_path), "distribution").keys() == {"PyYAML"}


# --- folders -----------------------------------------------------------------------------

WAYS = [
    "os.listdir(HERE / 'data')",
    "os.listdir(os.fsencode(HERE / 'data'))",
    "list(os.scandir(HERE / 'data'))",
    "list(os.walk(HERE / 'data'))",
    "glob.glob(f'{HERE}/data/*.txt')",
    "list((HERE / 'data').iterdir())",
    "list((HERE / 'data').glob('*.txt'))",
    "list((HERE / 'data').rglob('*.txt'))",
    "list(filter(None, (HERE / 'data').iterdir()))",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "b.txt").write_text(""),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "a.txt").rename(folder / "c.txt"),
    ],
    ids=["more", "less", "another"],
)
def test_the_files_of_a_folder_that_is_listed_are_an_input(
    tmp_path, way, change: Callable[[Path], object]
):
    write(tmp_path, "1", "data/a.txt")
    write(
        tmp_path,
        f"import glob, os, pathlib\nHERE = pathlib.Path(__file__).parent\ndef go():\n    {way}\n",
    )
    found = reads(tmp_path)
    assert of_kind(found, "listing").keys() == {"data"}
    write(tmp_path, "2", "data/a.txt")
    assert changed(tmp_path, found) == []
    change(tmp_path / FOLDER / "data")
    assert changed(tmp_path, found) == ["listing:models/x/data"]


LISTS = "import os, pathlib\ndef go(): {}\n"


def test_each_folder_below_is_an_input_of_its_own_less_what_nobody_wrote(tmp_path):
    for name in ("data/deep/a", ".git/a", "__pycache__/a.pyc", "data/.cache/a"):
        write(tmp_path, "", name)
    write(tmp_path, LISTS.format("list(pathlib.Path(__file__).parent.rglob('*'))"))
    found = reads(tmp_path)
    assert of_kind(found, "listing").keys() == {FOLDER, "data", "data/deep"}
    for name in (".hidden", "__pycache__/b.pyc", "data/.swp", "c.pyc"):
        write(tmp_path, "", name)
    assert changed(tmp_path, found) == []


def test_what_a_build_writes_is_not_in_a_listing_of_the_project(tmp_path):
    write(tmp_path, LISTS.format("list(os.walk(pathlib.Path(__file__).parents[2]))"))
    (tmp_path / "repository/cpu").mkdir(parents=True)
    found = reads(tmp_path)
    assert of_kind(found, "listing").keys() == {".", "models", FOLDER}
    for path in sorted((tmp_path / "repository").rglob("*"), reverse=True):
        path.rmdir()
    (tmp_path / "repository").rmdir()
    assert changed(tmp_path, found) == []
    (tmp_path / "data").mkdir()
    assert changed(tmp_path, found) == ["listing:."]


def test_a_folder_that_is_not_there_is_an_input(tmp_path):
    body = "\n    try: os.listdir(pathlib.Path(__file__).parent / 'data')\n    except OSError: pass"
    write(tmp_path, LISTS.format(body))
    found = reads(tmp_path)
    assert of_kind(found, "listing") == {"data": MISSING}
    write(tmp_path, "", "data/a.txt")
    assert changed(tmp_path, found) == ["listing:models/x/data"]


def test_a_listing_by_a_library_counts_unless_it_looks_for_modules(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # names like `<frozen importlib>` are no paths below it
    write(tmp_path, "", "data/a.txt")
    write(
        tmp_path,
        """
        import filecmp, importlib.metadata, pathlib, pkgutil
        HERE = pathlib.Path(__file__).parent
        def go():
            importlib.metadata.version("numpy")
            list(importlib.metadata.distributions())
            list(pkgutil.iter_modules())
            import helper
            filecmp.dircmp(HERE / "data", HERE / "data").left_list
        """,
    )
    write(tmp_path, "", "helper.py")
    assert of_kind(reads(tmp_path), "listing").keys() == {"data"}


def test_folders_elsewhere_and_descriptors_are_no_inputs(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    with listing(project) as seen:
        os.listdir(tmp_path)  # noqa: PTH208 - as a source may
        descriptor = os.open(project, os.O_RDONLY)
        os.listdir(descriptor)  # noqa: PTH208
        os.close(descriptor)
    assert seen.folders == set()
