"""What one machine has built, another need not; and a bad remote costs a warning, never a build."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from builder.errors import InputError
from builder.flow.context import context
from tests.flow.machines import ALL, CHANGED, machines, warnings
from tests.projects import TARGET, echo

pytestmark = pytest.mark.slow


@pytest.fixture
def remote(tmp_path, monkeypatch):
    folder = tmp_path / "remote"
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE", f"file://{folder}")
    return folder


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return machines(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A remote that one machine has filled, and what that has built."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_BUILDER_REMOTE_CACHE", f"file://{folder}/remote")
        ran, tree, _ = machines(folder, patch)("cold")
    assert ran == ALL
    return folder / "remote", tree


@pytest.fixture
def clean(remote, filled):
    """What a cold build has made; the remote is as that has left it."""
    shutil.copytree(filled[0], remote)
    return filled[1]


def objects(remote):
    return {p: p.read_bytes() for p in remote.rglob("*") if p.is_file()}


def blobs(remote):
    return [p for p in objects(remote) if "blobs" in p.parts]


def records(remote):
    return [p for p in objects(remote) if "actions" in p.parts]


def test_what_came_is_told_once(machine, clean):
    def came(said):
        return [line for line in said if "results are the remote cache's" in line]

    _, tree, said = machine("other")
    assert tree == clean
    assert len(came(said)) == 1
    ran, _, said = machine("other")
    assert (ran, came(said)) == (set(), [])


def test_a_second_machine_builds_nothing_and_has_the_same_bytes(clean, machine):
    ran, found, said = machine("warm")
    assert ran == set()
    assert found == clean
    assert any("6 results" in line for line in said)


def test_a_change_is_built_and_the_rest_is_fetched(clean, machine):
    ran, _, _ = machine("warm", CHANGED)
    assert ran == {"reference one", "config one"}
    ran, _, _ = machine("third", CHANGED)
    assert ran == set()


def test_read_only_takes_and_gives_nothing(remote, clean, machine, monkeypatch):
    before = objects(remote)
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE_READ_ONLY", "1")
    ran, _, _ = machine("fork", CHANGED)
    assert "python two" not in ran
    assert "reference one" in ran
    assert objects(remote) == before


def test_the_settings_name_a_remote_too(tmp_path, machine, monkeypatch):
    monkeypatch.delenv("TRITON_BUILDER_REMOTE_CACHE", raising=False)
    monkeypatch.setattr(
        "tests.projects.TARGET",
        TARGET.replace(
            "[tool.triton-builder]\n",
            f'[tool.triton-builder]\nremote-cache = "file://{tmp_path}/remote"\n',
        ),
    )
    machine("cold")
    assert machine("warm")[0] == set()
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE", "off")
    assert machine("apart")[0] == ALL


def test_a_corrupt_blob_is_told_of_once_and_built_here(remote, clean, machine):
    for path in blobs(remote):
        content = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(b"x" * len(content))
    ran, found, said = machine("warm")
    assert ran == ALL
    assert found == clean
    assert len(warnings(said)) == 1


def test_blobs_that_are_gone_are_built_here(remote, clean, machine):
    for path in blobs(remote):
        path.unlink()
    ran, found, _ = machine("warm")
    assert ran == ALL
    assert found == clean


def test_one_blob_that_is_gone_costs_its_own_action_only(remote, clean, machine):
    model = next(p for p in blobs(remote) if b"TritonPythonModel" in p.read_bytes())
    model.unlink()
    ran, found, _ = machine("warm")
    assert ran == {"python one", "python two"}  # the same file, by both
    assert found == clean


LIES = [b"not json", b"[]", b'[{"key": "0"}]', b'{"a": 1}', b"[[[[[[", b"\xff\xfe"]


def test_records_that_are_none_are_no_hits(remote, clean, machine):
    for path, lie in zip(records(remote), LIES, strict=True):
        path.chmod(0o644)
        path.write_bytes(lie)
    ran, found, _ = machine("warm")
    assert ran == ALL
    assert found == clean


def test_a_record_of_another_action_is_not_believed(remote, clean, machine):
    rows = {path: json.loads(path.read_bytes()) for path in records(remote)}
    mixed = [*list(rows.values())[1:], next(iter(rows.values()))]
    for path, others in zip(rows, mixed, strict=True):
        key = path.stem
        path.write_bytes(json.dumps([{**row, "key": key} for row in others]).encode())
    ran, found, _ = machine("warm")
    assert ran == ALL
    assert found == clean


def test_a_record_that_names_a_file_outside_is_not_believed(remote, clean, machine, tmp_path):
    for path in records(remote):
        rows = json.loads(path.read_bytes())
        for row in rows:
            row["outputs"] = {
                f"../../../../{tmp_path.name}-{name}": v for name, v in row["outputs"].items()
            }
        path.write_bytes(json.dumps(rows).encode())
    assert machine("warm")[0] == ALL
    assert [p for p in tmp_path.parent.iterdir() if p.name.startswith(f"{tmp_path.name}-")] == []


def test_what_the_local_store_loses_comes_back_from_the_remote(remote, machine, tmp_path):
    _, clean, _ = machine("cold")
    store = tmp_path / "cold" / "cache" / "store"
    for path in [p for p in (store / "blobs").rglob("*") if p.is_file()]:
        path.unlink()
    (tmp_path / "cold" / "project" / "repository" / "cpu" / "one" / "config.pbtxt").unlink()
    ran, found, _ = machine("cold")
    assert ran == set()
    assert found == clean


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("s3://user:secret@bucket/prefix", "more than a place"),
        ("http://host/bucket", "no store"),
        ("bucket", "no store"),
        ("file://relative/path", "three slashes"),
    ],
)
def test_an_address_that_is_none_is_an_error_that_shows_no_secret(
    tmp_path, monkeypatch, url, problem
):
    echo(tmp_path)
    monkeypatch.setenv("TRITON_BUILDER_REMOTE_CACHE", url)
    with pytest.raises(InputError, match=problem) as caught:
        context(tmp_path, None)
    assert "secret" not in str(caught.value)
    assert caught.value.where == "$TRITON_BUILDER_REMOTE_CACHE"


def test_a_build_without_anything_to_fetch_does_not_open_the_remote(remote, machine, tmp_path):
    machine("cold")
    code = (
        "import atexit, sys; sys.argv[0] = 'triton-builder'; from builder.cli.main import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    root = tmp_path / "cold" / "project"
    command = [sys.executable, "-c", code, "-C", str(root), "build", "--no-validate"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert "up to date" in done.stdout
    assert "obstore" not in done.stderr.split()
