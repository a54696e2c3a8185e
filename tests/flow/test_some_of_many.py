"""Builds of some models of many, and what is kept of the others."""

import json

import pytest

from builder.errors import BuilderError
from builder.flow.context import context
from builder.flow.reporting import report
from tests.flow.repositories import repository, snapshot
from tests.projects import ECHO_MODEL, ECHO_SOURCE, echo, ensemble, model

pytestmark = pytest.mark.slow

OUTER = """
name: outer
version: "1.0"
inputs: {X: {dtype: int32, shape: [batch, 2]}}
outputs: {Y: {dtype: int32, shape: [batch, 2]}}
steps:
  - {model: inner, inputs: {x: X}, outputs: {y: Y}}
"""


def test_a_build_of_some_keeps_the_others(project, built):
    echo(project, "one")
    echo(project, "two")
    everything = built().manifest
    folder = echo(project, "two", ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    assert folder.exists()
    outcome = built("two")
    assert outcome.manifest.models.keys() == {"one", "two"}
    assert outcome.manifest.models["one"] == everything.models["one"]
    assert outcome.manifest.models["two"] != everything.models["two"]


def test_an_ensemble_that_is_kept_is_not_proven_with_other_members(project, built):
    folder = echo(project, "inner")
    echo(project, "other")
    ensemble(project, "outer", OUTER)
    proven(repository(project), built().manifest)
    (folder / "model.py").write_text(ECHO_MODEL + "\n# says the same\n")
    echo(project, "other", ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    kept = built("other").manifest.models
    assert kept["outer"].versions["1.0"].verdict["passed"]
    kept = built("inner").manifest.models
    assert kept["outer"].versions["1.0"].verdict == {"passed": False, "reason": "a member changed"}
    assert built("inner").manifest.models == kept


def proven(folder, manifest):
    """Has a repository say that all of it is proven."""
    said = json.loads(manifest.encode())
    for entry in said["models"].values():
        for version in entry["versions"].values():
            version["verdict"] = {"passed": True, "server": "a server", "checks": []}
    (folder / "manifest.json").write_text(json.dumps(said))


def test_a_repository_is_called_the_same_whether_all_of_it_was_built_or_some(project, built):
    model(project, "graph")
    echo(project, "code")
    everything = built().manifest
    assert "onnx" in everything.toolchain
    (repository(project) / "code" / "extra").write_text("somebody's")
    outcome = built("code")
    assert outcome.changed
    assert outcome.manifest.digest == everything.digest


def test_a_report_says_of_kept_models_what_they_are(project, built):
    echo(project, "inner")
    ensemble(project, "outer", OUTER)
    outcome = built()
    full = {m.name: m for m in report(context(project, None, ()), outcome).models}
    echo(project, "other")
    outcome = built("other")
    part = {m.name: m for m in report(context(project, None, ("other",)), outcome).models}
    for name in ("inner", "outer"):
        assert part[name].format == full[name].format
        assert part[name].members == full[name].members
        assert [v.precision for v in part[name].versions] == [None]


def test_a_kept_model_that_was_altered_is_put_right_from_the_store(project, built):
    echo(project, "one")
    folder = echo(project, "two")
    built()
    before = snapshot(repository(project) / "one")
    altered = repository(project) / "one" / "1000000" / "model.py"
    altered.unlink()
    altered.write_text("garbage")
    (folder / "source.py").write_text(ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    assert built("two").changed
    assert snapshot(repository(project) / "one") == before


def test_a_kept_model_that_was_altered_is_refused_where_the_store_has_it_no_more(
    project, built, cache_folder
):
    echo(project, "one")
    folder = echo(project, "two")
    (project / "models/one/model.py").write_text("# another\n")
    entry = built().manifest.models["one"].versions["1.0"]
    digest = entry.files["model.py"][0]
    (repository(project) / "one" / "1000000" / "model.py").unlink()
    (cache_folder / "store" / "blobs" / digest[:2] / digest).unlink()
    (folder / "source.py").write_text(ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    with pytest.raises(BuilderError, match="changed or removed") as caught:
        built("two")
    assert caught.value.where == "cpu/one/1000000/model.py"
