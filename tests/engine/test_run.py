"""Workers that die, lie or shout."""

import pytest

from builder.errors import BuilderError, WorkFailedError
from builder.flow.build import Options, build
from builder.flow.context import context
from tests.projects import ECHO_SOURCE, echo


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
