"""The files of a Python model's version folder: which there may be."""

import pytest

from builder.errors import InputError
from builder.stages import python
from builder.stages.job import Job

PARAMS = {"source": "model.py", "files": "source.py:files", "packages": []}


def run(folder, files):
    (folder / "model.py").write_text("")
    (folder / "source.py").write_text(f"def files():\n    return {files}\n")
    out = folder / "out"
    out.mkdir()
    python.run(Job(project=folder, out=out, inputs={}, params=PARAMS, where="python m"))
    return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}


def test_names_in_any_language_with_blanks(tmp_path):
    assert run(tmp_path, "{'a b/ü.json': b'x'}") == {"model.py", "a b/ü.json"}


@pytest.mark.parametrize(
    "name", ["../x", "/x", "", "model.py", "x\ny", "\x7f", "\udc80", "a/" + "b" * 256, "ü" * 128]
)
def test_names_that_no_repository_holds(tmp_path, name):
    with pytest.raises(InputError, match=r"outside its place|no name for a file"):
        run(tmp_path, f"{{{name!a}: b'x'}}")


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a", "a/b/c")])
def test_a_name_is_a_files_or_a_folders(tmp_path, names):
    with pytest.raises(InputError, match="both a file and a folder"):
        run(tmp_path, repr(dict.fromkeys(names, b"x")))
