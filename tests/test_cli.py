"""The contract of the command line: exit codes, messages, what is imported."""

import datetime as dt
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cli import releases
from builder.release.listing import Row
from tests.projects import ECHO_SOURCE, echo, ensemble, model

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path):
    def call(*arguments, project=tmp_path / "project", check=None):
        done = subprocess.run(
            [sys.executable, "-m", "builder", "-C", str(project), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "TRITON_BUILDER_CACHE": str(tmp_path / "cache")},
            check=False,
        )
        assert "Traceback" not in done.stderr
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return call


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def test_init_below_a_project_says_which_it_is(project, run):
    below = echo(project)
    said = run("init", "second", project=below, check=0).stdout.splitlines()
    assert said[:2] == [f"in the project {project}:", "wrote models/second/model.yaml"]
    said = run("init", "third", check=0).stdout.splitlines()
    assert said[0] == "wrote models/third/model.yaml"


def test_check_counts_what_it_read(project, run):
    echo(project)
    assert "1 models and 0 ensembles are well-formed" in run("check", check=0).stdout


def test_check_refuses_what_every_plan_would(project, run):
    echo(project)
    file = project / "pyproject.toml"
    said = file.read_text().replace('"24.10"', '"24.13"')
    stores = 'remote-cache = "nowhere"\nrelease-store = "s3:/x"\n[tool.triton-builder.targets.cpu]'
    file.write_text(said.replace("[tool.triton-builder.targets.cpu]", stores))
    told = run("check", check=2).stderr
    assert "[tool.triton-builder.targets.cpu] triton: Triton release 24.13 is not in" in told
    assert "[tool.triton-builder] remote-cache: no store has such an address" in told
    assert "[tool.triton-builder] release-store: " in told


def test_a_wrong_spec_exits_with_two(project, run):
    folder = echo(project)
    (folder / "model.yaml").write_text("nmae: echo\n")
    done = run("build", check=2)
    assert "models/echo/model.yaml:1: unknown field `nmae`" in done.stderr


def test_errors_as_json(project, run):
    folder = echo(project)
    (folder / "model.yaml").write_text("nmae: echo\n")
    errors = json.loads(run("check", "--json", check=2).stdout)["errors"]
    assert errors[0]["where"] == "models/echo/model.yaml:1"
    assert errors[0]["found"] == "nmae"


def test_a_wrong_option_exits_with_two(project, run):
    echo(project)
    run("build", "--jobs", "none", check=2)
    run("no-such-command", check=2)


def test_an_unknown_name_is_met_with_a_suggestion(project, run):
    echo(project)
    assert "did you mean `echo`?" in run("build", "ecko", check=2).stderr


def test_an_unknown_target_lists_the_known_ones(project, run):
    echo(project)
    done = run("build", "--target", "moon", check=2)
    assert "no target `moon`" in done.stderr
    assert "cpu" in done.stderr


def test_outside_of_a_project(tmp_path, run):
    done = run("build", project=tmp_path, check=2)
    assert "not in a triton-builder project" in done.stderr


def test_failing_work_exits_with_one_or_two_by_its_cause(project, run):
    echo(project, source="raise RuntimeError('no luck')\n")
    (project / "models/echo/source.py").write_text(
        "def samples():\n    raise RuntimeError('no luck')\n\n\ndef reference(x):\n    return x\n"
    )
    done = run("build", "--no-validate", check=2)
    assert "models/echo/source.py:2" in done.stderr
    assert "no luck" in done.stderr


def test_a_server_that_cannot_be_had_exits_with_three(project, run):
    echo(project)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("24.10", "24.04"))
    done = run("build", check=3)
    assert "24.04" in done.stderr


def test_serve_without_a_build_says_what_to_do(project, run):
    echo(project)
    assert "triton-builder build --target cpu" in run("serve", check=2).stderr


def test_plan_as_json(project, run):
    model(project)
    actions = json.loads(run("plan", "--json", check=0).stdout)["actions"]
    assert [a["action"] for a in actions][:2] == ["reference linear", "export linear"]
    assert actions[0]["reason"] == "never built"


def test_schema_is_json_schema(project, run):
    schema = json.loads(run("schema", check=0).stdout)
    assert "inputs" in schema["model.yaml"]["properties"]
    assert "steps" in schema["ensemble.yaml"]["properties"]


def test_a_no_op_build_imports_nothing_heavy(project, run, tmp_path):
    echo(project)
    run("build", "--no-validate", check=0)
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-m",
            "builder",
            "-C",
            str(project),
            "build",
            "--no-validate",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_BUILDER_CACHE": str(tmp_path / "cache")},
        check=True,
    )
    assert "up to date" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "builder.flow.build" in imported
    assert not imported & {"torch", "onnx", "onnxruntime", "tritonclient", "numpy", "grpc"}


@pytest.mark.parametrize("place", ["repository", "cache"])
def test_a_file_where_a_folder_belongs(project, run, tmp_path, place):
    echo(project)
    target = {"repository": project / "repository", "cache": tmp_path / "cache"}[place]
    target.write_text("a file")
    done = run("build", "--no-validate", check=2)
    assert "a file is in the way" in done.stderr
    assert "bug" not in done.stderr


def test_a_usage_error_as_json(project, run):
    echo(project)
    errors = json.loads(run("build", "--json", "--jobs", "0", check=2).stdout)["errors"]
    assert "0" in errors[0]["problem"]


def test_debug_may_stand_anywhere(project, run):
    echo(project)
    assert "well-formed" in run("check", "--debug", check=0).stdout


def test_a_terminal_that_knows_no_arrows(project, run, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    folder = echo(project)
    run("build", "--no-validate", check=0)
    spec = folder / "model.yaml"
    spec.write_text(spec.read_text().replace("max: 4", "max: 3"))
    assert "dims.batch.max 4 ? 3" in run("plan", check=0).stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_nowhere(project, run, closed):
    echo(project)
    run("check", check=0)
    line = f'exec "$0" -m builder -C "$1" check {closed}'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, str(project)], check=False, capture_output=True
    )
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_full_disk_under_standard_output_is_told(project):
    echo(project)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "builder", "-C", str(project), "check"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "error: standard output, or a file: the disk is full" in done.stderr


def _locked_out(project, *arguments):
    """Runs a command as somebody whom modes of files bind, as they do not bind root."""
    line = shlex.join([sys.executable, "-m", "builder", "-C", str(project), *arguments])
    words = ["sh", "-c", line]
    if os.geteuid() == 0:
        drop = "--bounding-set=-dac_override,-dac_read_search"
        words = ["setpriv", drop, "--inh-caps=-dac_override,-dac_read_search", *words]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_folder_of_specs_that_may_not_be_read_exits_with_two(project):
    folder = echo(project)
    for locked, name in ((folder, "models/echo/model.yaml"), (folder.parent, "models")):
        locked.chmod(0)
        done = _locked_out(project, "check")
        locked.chmod(0o755)
        assert done.returncode == 2, done.stderr
        assert f"error: {name}: cannot be read" in done.stderr


def test_what_a_user_may_not_read_exits_with_three(project):
    echo(project)
    built = project / "repository" / "cpu"
    built.mkdir(parents=True)
    built.chmod(0)
    done = _locked_out(project, "publish")
    built.chmod(0o755)
    assert done.returncode == 3, done.stderr
    assert f"error: {built}/manifest.json: this user may not" in done.stderr


def test_a_source_that_ends_the_process(project, run):
    echo(project, source="import os\nos._exit(0)\ndef samples(): ...\ndef reference(x): ...\n")
    assert "the source ended the process" in run("build", "--no-validate", check=1).stderr


def test_one_mistake_that_two_actions_meet_is_told_once(project, run):
    echo(project, "one", "raise ValueError('once')\n" + ECHO_SOURCE)
    ensemble(
        project,
        "both",
        """
        name: both
        version: "1.0"
        inputs:  {X: {dtype: int32, shape: [batch, 2]}}
        outputs: {Y: {dtype: int32, shape: [batch, 2]}}
        steps: [{model: one, inputs: {x: X}, outputs: {y: Y}}]
        """,
    )
    assert run("build", "--no-validate", check=2).stderr.count("error: ") == 1
    assert run("build", "--no-validate", check=2).stderr.count("models/one/source.py:1: ") == 1


def test_an_action_is_explained_by_key_inputs_and_tools(project, run):
    echo(project)
    run("build", "--no-validate", check=0)
    told = run("plan", "--explain", "config echo", check=0).stdout
    for word in ("key: ", "inputs:", ": reference echo", "tools:", "numpy: "):
        assert word in told
    as_json = json.loads(run("plan", "--explain", "config echo", "--json", check=0).stdout)
    assert as_json["hit"] is True
    assert as_json["outputs"]["config.pbtxt"]
    assert f"key: {as_json['key']}" in told


def test_an_action_that_is_not_there_is_named_with_those_that_are(project, run):
    echo(project)
    done = run("plan", "--explain", "config ehco", check=2)
    assert "did you mean `config echo`" in done.stderr


def test_a_trace_is_written_also_when_the_build_fails(project, run, tmp_path):
    echo(project, source=ECHO_SOURCE + "\nraise ValueError('no')\n")
    trace = tmp_path / "deep" / "trace.json"
    run("build", "--no-validate", "--trace", str(trace), check=2)
    events = json.loads(trace.read_text())["traceEvents"]
    results = {e["name"]: e["args"]["result"] for e in events if "result" in e.get("args", {})}
    assert results["reference echo"] == "fail"
    assert results["python echo"] == "done"
    assert "plan" in {e["name"] for e in events}


def test_garbage_is_collected_and_told_of(project, run):
    echo(project)
    run("build", "--no-validate", check=0)
    assert "dropped 0 results" in run("gc", "--max-size", "1KB", "--max-age", "0h", check=0).stdout
    for path in sorted((project / "repository").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    told = json.loads(run("gc", "--max-age", "0h", "--dry-run", "--json", check=0).stdout)
    assert told["records"] == 3
    assert "would drop 3 results" in run("gc", "--max-age", "0h", "--dry-run", check=0).stdout
    assert "dropped 3 results" in run("gc", "--max-age", "0h", check=0).stdout
    assert "3 of 3" in run("plan", check=0).stdout


@pytest.mark.parametrize("option", [("--max-size", "20"), ("--max-age", "soon")])
def test_limits_that_are_none_exit_with_two(run, project, option):
    assert "expected" in run("gc", *option, check=2).stderr


def test_an_address_without_a_cluster_exits_with_two(project, run):
    echo(project)
    assert "--executor ray" in run("build", "--address", "auto", check=2).stderr


def test_what_an_action_printed_is_shown_when_it_fails(project, run):
    source = ECHO_SOURCE + "\nprint('the last words')\nraise ValueError('no')\n"
    echo(project, source=source)
    assert "| the last words" in run("build", "--no-validate", check=2).stderr


def test_strict_refuses_what_is_not_reproducible_also_when_it_is_a_hit(project, run):
    source = ECHO_SOURCE.replace("import numpy as np", "import time\nimport numpy as np")
    source = source.replace("def samples():", "def samples():\n    time.time()")
    echo(project, source=source)
    done = run("build", "--no-validate", check=0)
    assert "warning: not reproducible: models/echo/source.py:7 reads the clock" in done.stderr
    again = run("build", "--no-validate", "--strict", check=2)
    assert "models/echo/source.py:7" in again.stderr
    assert "time.time" in again.stderr


def test_a_requirement_that_is_not_installed_exits_with_three(project, run):
    spec = echo(project) / "model.yaml"
    spec.write_text(spec.read_text() + "requires: [numpy, no-such-thing]\n")
    done = run("build", "--no-validate", check=3)
    assert f"models/echo/model.yaml:{len(spec.read_text().splitlines())}: " in done.stderr
    assert "`no-such-thing`, which echo requires, is not installed" in done.stderr


def test_a_model_that_declares_more_memory_than_there_is_exits_with_three(project, run):
    folder = echo(project)
    spec = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(spec + "build: {memory: 900TB}\n")
    done = run("build", "--no-validate", check=3)
    assert "more memory than the machine has" in done.stderr


def test_a_sound_project_is_built_twice_and_is_the_same(project, run):
    echo(project)
    done = run("build", "--no-validate", "--check-reproducible", check=0)
    assert "built twice, and all came out the same" in done.stderr


def test_a_build_that_differs_the_second_time_exits_with_one(project, run):
    source = "import os, time\n" + ECHO_SOURCE.replace("[5, 6]", "[5, time.time_ns() % 2**31]")
    echo(project, source=source)
    done = run("build", "--no-validate", "--check-reproducible", check=1)
    assert "built twice, and not the same: reference echo" in done.stderr
    assert "goldens.npy" in done.stderr
    assert "reads the clock (time.time_ns)" in done.stderr


def test_a_trace_that_cannot_be_written_is_told_before_the_work(project, run, tmp_path):
    echo(project)
    (tmp_path / "file").touch()
    done = run("build", "--no-validate", "--trace", str(tmp_path / "file" / "trace.json"), check=2)
    assert "in the way" in done.stderr
    assert "reference echo" not in done.stderr


def test_triton_s_releases_are_shown(project, run):
    done = run("releases", "--triton", check=0)
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert list(lines)[1] == "26.10"
    assert lines["24.10"] == [
        *("24.10", "2.51.0", "1.19.2", "21", "10", "10.5.0.18", "12.6.2", "3.10.12", "6.0", "560"),
        *("embedded", "server"),
    ]
    assert lines["24.02"][2] == "?"


def test_a_narrow_terminal_shows_names_of_releases_whole(monkeypatch, capsys):
    monkeypatch.setattr(releases, "WIDTH", 40)
    when = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    name = f"sha256:{'0123456789' * 6}0123"
    releases._show(
        [Row(name, "cpu", "24.10", 8, 256_000_000, when, ("prod", "staging"), signed=True)]
    )
    assert "sha256:012345678901" in capsys.readouterr().out


def test_triton_s_releases_as_json(project, run):
    rows = json.loads(run("releases", "--triton", "--json", check=0).stdout)["releases"]
    found = {row["name"]: row for row in rows}
    assert found["24.10"]["embedded"]
    assert found["24.10"]["onnx"] == {"opset": 21, "ir_version": 10}
    assert not found["26.07"]["embedded"]
    assert found["24.02"]["notes"]["onnxruntime"]
    assert any("r24.10/build.py" in source for source in found["24.10"]["sources"])


def test_triton_s_releases_lie_in_no_store(project, run):
    done = run("releases", "--triton", "--store", "file:///nowhere", check=2)
    assert "no store" in done.stderr


def test_a_target_whose_release_is_not_known_is_told_so_before_anything_else(project, run):
    echo(project)
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("24.10", "99.01"))
    done = run("plan", check=2)
    assert "targets.cpu] triton: Triton release 99.01" in done.stderr
    assert "releases --triton" in done.stderr
