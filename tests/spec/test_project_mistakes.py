"""Every mistake that a project's settings can hold."""

import pytest

from tests.projects import model
from tests.spec.mistakes import refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'default-targt = "cpu"',
            ["unknown field `default-targt`", "did you mean `default-target`"],
        ),
        ('[tool.triton-builder.targets.cpu]\ndevic = "cpu"', ["targets.cpu.devic`", "`device`"]),
        (
            '[tool.triton-builder.targets.a]\ntriton="24.10"\ndevice="cpu"\nserver="embeded"',
            ["`targets.a.server`", "'embedded'"],
        ),
        (
            '[tool.triton-builder.targets."../../x"]\ntriton="24.10"\ndevice="cpu"',
            ["not a name", "letters, digits"],
        ),
        *(
            (
                (
                    '[tool.triton-builder.targets.a]\ntriton="24.10"\ndevice="gpu"\n'
                    f'server="container"\ntensorrt={{"{option}"=true}}'
                ),
                ["`targets.a.tensorrt`", option, why],
            )
            for option, why in (("strip-weights", "refits none"), ("weight-streaming", "no budget"))
        ),
        (
            (
                '[tool.triton-builder.targets.a]\ntriton="24.10"\ndevice="cpu"\n'
                'onnxruntime={accelerator="tensorrt"}'
            ),
            ["`targets.a`", "onnxruntime.accelerator works on a GPU", "device = gpu"],
        ),
    ],
)
def test_mistakes_in_pyproject_name_the_key(tmp_path, text, words):
    model(tmp_path)
    (tmp_path / "pyproject.toml").write_text(f"[tool.triton-builder]\n{text}\n")
    found = refused(tmp_path)
    assert all(word in found for word in words), found


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"tool = 3", "`tool` is no table"),
        (b"[tool]\ntriton-builder = 3", "`triton-builder` is no table"),
        (b"# \xff", "not UTF-8"),
        (b"x = " + b"9" * 5000, "not valid TOML"),
    ],
)
def test_a_pyproject_that_cannot_be_read(tmp_path, content, problem):
    model(tmp_path)
    (tmp_path / "pyproject.toml").write_bytes(content)
    assert problem in refused(tmp_path)


def test_a_release_without_quotes(tmp_path):
    model(tmp_path)
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"24.10"', "24.10"))
    assert "write it in quotes" in refused(tmp_path)
