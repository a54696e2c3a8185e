"""The contract of the command line: exit codes, messages, what is imported."""

import json
import os
import subprocess
import sys

import pytest

from tests.projects import ECHO_SOURCE, echo, ensemble, model


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


def test_check_counts_what_it_read(project, run):
    echo(project)
    assert "1 models and 0 ensembles are well-formed" in run("check", check=0).stdout


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
