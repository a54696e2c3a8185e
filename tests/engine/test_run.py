"""Workers that die, lie or shout."""

import os
import time

import psutil
import pytest

from builder.errors import BuilderError, MissingError, WorkFailedError
from builder.flow.build import Options, build
from builder.flow.context import context
from tests.projects import ECHO_SOURCE, echo

pytestmark = pytest.mark.slow


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"

    def run(source, jobs=1):
        root.mkdir(exist_ok=True)
        echo(root, source=source)
        events = []
        quiet = Options(jobs=jobs, validate=False, say=lambda _: None, on_event=events.append)
        build(context(root, None), quiet)
        return events

    return run


def test_a_worker_that_is_killed_is_named_with_the_signal(built):
    with pytest.raises(WorkFailedError, match="worker process died") as caught:
        built("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n" + ECHO_SOURCE)
    assert caught.value.where == "reference echo"
    assert caught.value.found == "SIGKILL"
    assert "memory" in caught.value.fix


def test_a_worker_that_crashes_is_named_with_the_signal(built):
    with pytest.raises(WorkFailedError, match="worker process died") as caught:
        built("import ctypes\nctypes.string_at(0)\n" + ECHO_SOURCE)
    assert caught.value.found == "SIGSEGV"


def test_a_worker_that_may_open_no_more_files_blames_no_model(built):
    fewer = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))\nreturn {"
    with pytest.raises(BuilderError) as caught:
        built(ECHO_SOURCE.replace("return {", fewer.replace("\n", "\n    ")))
    assert caught.value.exit_code == MissingError.exit_code
    assert "reference echo: no more files may be open" in str(caught.value)
    assert "ulimit -n: 4, and 4 at most" in str(caught.value)


def test_what_a_failing_source_printed_is_shown(built, capfd):
    with pytest.raises(BuilderError) as caught:
        built("print('a last word', flush=True)\nraise ValueError('no')\n" + ECHO_SOURCE)
    assert "no" in str(caught.value)
    assert "a last word" not in capfd.readouterr().out


def test_what_a_sound_source_prints_is_not(built, capfd):
    built("import os\nos.system('echo native')\nprint('python')\n" + ECHO_SOURCE)
    said = capfd.readouterr()
    assert "native" not in said.out + said.err
    assert "python" not in said.out


def test_events_tell_what_ran_and_why(built):
    events = built(ECHO_SOURCE, jobs=2)
    started = {e.action: e.reason for e in events if e.kind == "start"}
    assert started == dict.fromkeys(["python echo", "reference echo", "config echo"], "never built")
    assert {e.kind for e in built(ECHO_SOURCE)} == {"hit"}


def test_a_variable_that_a_source_reads_is_an_input(built, monkeypatch):
    source = "import os\n" + ECHO_SOURCE.replace("[5, 6]", "[5, int(os.environ['ROWS'])]")
    monkeypatch.setenv("ROWS", "6")
    built(source)
    assert {e.kind for e in built(source)} == {"hit"}
    monkeypatch.setenv("ROWS", "7")
    started = {e.action: e.reason for e in built(source) if e.kind == "start"}
    assert started["reference echo"] == "ROWS changed"
    assert "python echo" not in started
    monkeypatch.setenv("ROWS", "6")
    assert {e.kind for e in built(source)} == {"hit"}


def test_a_variable_that_workers_fix_is_none(built, monkeypatch):
    source = "import os\nos.environ.get('OMP_NUM_THREADS')\n" + ECHO_SOURCE
    built(source)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert {e.kind for e in built(source)} == {"hit"}


def test_a_source_that_is_edited_while_it_is_built_is_not_kept(built, tmp_path):
    edit = "from pathlib import Path\n" + ECHO_SOURCE.replace(
        "def samples():",
        "def samples():\n"
        "    notes = Path(__file__).with_name('notes.txt')\n"
        "    count = int(notes.read_text())\n"
        "    __import__('subprocess').run(['sh', '-c', f'echo 7 > {notes}'])\n",
    ).replace("[5, 6]", "[5, count]")
    folder = tmp_path / "project" / "models" / "echo"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("6")
    with pytest.raises(WorkFailedError, match="changed while it was being built") as caught:
        built(edit)
    assert caught.value.found == "models/echo/notes.txt"


def test_a_file_of_a_time_to_come_has_not_changed_for_that(built, tmp_path):
    """As archives, or a clock that was set back, leave it."""
    folder = tmp_path / "project" / "models" / "echo"
    folder.mkdir(parents=True)
    notes = folder / "notes.txt"
    notes.write_text("6")
    os.utime(notes, (time.time() + 86400,) * 2)
    reading = "    count = int(Path(__file__).with_name('notes.txt').read_text())\n"
    source = ECHO_SOURCE.replace("def samples():", f"def samples():\n{reading}")
    built("from pathlib import Path\n" + source.replace("[5, 6]", "[5, count]"))


def test_a_declared_file_that_is_edited_meanwhile_is_not_kept(built, tmp_path):
    model = tmp_path / "project" / "models" / "echo" / "model.py"
    editing = f"from pathlib import Path\nPath({str(model)!r}).write_text('other')\n" + ECHO_SOURCE
    with pytest.raises(WorkFailedError, match="changed while it was being built") as caught:
        built(editing)
    assert caught.value.found == "models/echo/model.py"


def test_what_one_source_does_to_the_process_does_not_reach_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"
    (root / "aside").mkdir(parents=True)
    (root / "v.txt").write_text("5")
    (root / "aside" / "v.txt").write_text("9")
    spoiling = "import os, sys\n" + ECHO_SOURCE.replace(
        "def samples():",
        "def samples():\n"
        f"    os.chdir({str(root / 'aside')!r})\n"
        "    os.environ['SPOILED'] = '9'\n"
        "    sys.path.insert(0, '/nowhere')\n"
        "    np.seterr(all='raise')\n",
    )
    asking = "import os, sys\n" + ECHO_SOURCE.replace(
        "[5, 6]",
        "[int(open('v.txt').read()), int(os.environ.get('SPOILED', 0)) + sys.path.count('/nowhere')"
        " + (np.geterr()['divide'] != 'warn')]",
    )
    echo(root, "aa", spoiling)
    echo(root, "bb", asking)
    here = context(root, None)
    records = build(here, Options(jobs=1, validate=False)).records
    from builder.stages import goldens

    outputs = records["reference bb"].outputs["goldens.npy"]
    answers = goldens.read(here.store.file(outputs))
    assert answers[1].outputs["y"].tolist() == [[3, 4], [5, 0]]


SPOILS = [
    "np.fabs = lambda _: 9",
    "exec('np.fabs = abs')",
    "import fractions\nfractions.Fraction.spoiled = 9",
]


@pytest.mark.parametrize("spoil", SPOILS)
def test_what_one_source_puts_into_a_library_does_not_reach_the_next(tmp_path, monkeypatch, spoil):
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    sound = "int(type(np.fabs) is np.ufunc), int(not hasattr(fractions.Fraction, 'spoiled'))"
    echo(root, "aa", f"{ECHO_SOURCE}{spoil}\n")
    echo(root, "bb", "import fractions\n" + ECHO_SOURCE.replace("5, 6", sound))
    here = context(root, None)
    lanes = []
    options = Options(jobs=1, validate=False, on_event=lambda event: lanes.append(event.lane))
    records = build(here, options).records
    from builder.stages import goldens

    answers = goldens.read(here.store.file(records["reference bb"].outputs["goldens.npy"]))
    assert answers[1].inputs["x"].tolist() == [[3, 4], [1, 1]]
    assert set(lanes) - {""} == {"worker 1"}


def test_a_file_that_was_looked_for_in_vain_is_an_input(built, tmp_path):
    source = ECHO_SOURCE.replace(
        "def samples():",
        "def samples():\n"
        "    try:\n        open(__file__ + '.more')\n    except OSError:\n        pass",
    )
    built(source)
    assert {e.kind for e in built(source)} == {"hit"}
    (tmp_path / "project" / "models" / "echo" / "source.py.more").write_text("more")
    assert "reference echo" in {e.action for e in built(source) if e.kind == "start"}


def test_a_link_that_leads_elsewhere_now_is_a_change(built, tmp_path):
    folder = tmp_path / "project" / "models" / "echo"
    for name, text in (("d1", "6"), ("d2", "7")):
        (folder / name).mkdir(parents=True)
        (folder / name / "v.txt").write_text(text)
    (folder / "current").symlink_to("d1")
    source = "from pathlib import Path\n" + ECHO_SOURCE.replace(
        "[5, 6]", "[5, int(Path(__file__).with_name('current').joinpath('v.txt').read_text())]"
    )
    built(source)
    assert {e.kind for e in built(source)} == {"hit"}
    (folder / "current").unlink()
    (folder / "current").symlink_to("d2")
    assert "reference echo" in {e.action for e in built(source) if e.kind == "start"}


def test_what_a_source_starts_ends_with_the_build(built, tmp_path):
    built(f"import subprocess\nsubprocess.Popen(['sleep', '54321'])\n{ECHO_SOURCE}")
    left = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "54321"]]
    assert left == []
