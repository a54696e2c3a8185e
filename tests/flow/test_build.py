"""What a build promises: only what changed is done again, and nothing is ever half there."""

import pytest

from builder.errors import BuilderError, InputError
from builder.flow.build import Options, build
from builder.flow.context import context
from builder.repository import manifest as manifests
from tests.flow.repositories import repository, snapshot
from tests.projects import ECHO_SOURCE, echo

pytestmark = pytest.mark.slow


def test_the_manifest_names_every_file_with_its_digest(project, built):
    echo(project)
    outcome = built()
    files = snapshot(repository(project))
    del files["manifest.json"]
    assert {name: sha for name, (sha, _) in outcome.manifest.tree()} == files
    assert {"echo/config.pbtxt", "echo/1000000/model.py"} <= files.keys()


def test_what_was_not_validated_says_so(project, built):
    echo(project)
    verdict = built().manifest.models["echo"].versions["1.0"].verdict
    assert verdict == {"passed": False, "reason": "not validated"}


def test_a_second_build_does_nothing(project, built):
    echo(project)
    first = built()
    before = snapshot(repository(project))
    second = built()
    assert first.changed
    assert first.ran
    assert not second.changed
    assert second.ran == ()
    assert snapshot(repository(project)) == before


def test_a_comment_in_a_spec_rebuilds_nothing(project, built):
    folder = echo(project)
    built()
    spec = folder / "model.yaml"
    spec.write_text("# a comment\n" + spec.read_text())
    outcome = built()
    assert outcome.ran == ()
    assert not outcome.changed


def test_a_change_in_one_model_leaves_the_others_alone(project, built):
    echo(project, "one")
    folder = echo(project, "two")
    built()
    (folder / "model.py").write_text((folder / "model.py").read_text() + "# changed\n")
    assert built().ran == ("python two",)


def test_an_output_that_comes_out_the_same_stops_the_rebuild(project, built):
    folder = echo(project)
    built()
    (folder / "source.py").write_text(ECHO_SOURCE + "\n# same samples\n")
    assert built().ran == ("reference echo",)


def test_changed_samples_reach_everything_made_of_them(project, built):
    folder = echo(project)
    built()
    (folder / "source.py").write_text(ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    assert built().ran == ("reference echo", "config echo")


def test_a_module_that_the_source_imports_is_found_out(project, built, command):
    folder = echo(project, source="import helper\n" + ECHO_SOURCE)
    (folder / "helper.py").write_text("VALUE = 1\n")
    built()
    assert built().ran == ()
    (folder / "helper.py").write_text("VALUE = 2\n")
    out, _ = command("plan").communicate(timeout=60)
    assert "miss  reference echo  models/echo/helper.py changed" in out
    assert built().ran == ("reference echo",)


def test_a_repository_that_is_a_link_is_swapped_where_it_leads(project, built, tmp_path):
    echo(project)
    target = tmp_path / "elsewhere" / "repository"
    target.parent.mkdir()
    repository(project).parent.mkdir()
    repository(project).symlink_to(target)
    built()
    echo(project, source=ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    assert built().changed
    assert repository(project).is_symlink()
    assert (target / "manifest.json").is_file()
    assert not built().changed


def test_a_model_that_is_gone_leaves_the_repository(project, built):
    echo(project, "one")
    folder = echo(project, "two")
    built()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert built().manifest.models.keys() == {"one"}
    assert not (repository(project) / "two").exists()


def test_two_folders_and_two_stores_give_the_same_bytes(tmp_path, project, built, monkeypatch):
    echo(project)
    built()
    elsewhere = tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    echo(elsewhere)
    monkeypatch.setenv("TRITON_BUILDER_CACHE", str(tmp_path / "another"))
    quiet = Options(jobs=2, validate=False, say=lambda _: None, on_event=lambda _: None)
    build(context(elsewhere, None), quiet)
    assert snapshot(repository(elsewhere)) == snapshot(repository(project))


def test_a_file_altered_in_the_repository_is_put_right(project, built):
    echo(project)
    built()
    before = snapshot(repository(project))
    altered = repository(project) / "echo" / "config.pbtxt"
    altered.unlink()
    altered.write_text("tampered")
    (repository(project) / "echo" / "stray").write_text("stray")
    assert built().changed
    assert snapshot(repository(project)) == before


def test_a_corrupt_blob_is_dropped_and_made_anew(project, built, cache_folder):
    folder = echo(project)
    digest = built().manifest.models["echo"].versions["1.0"].files["model.py"][0]
    blob = cache_folder / "store" / "blobs" / digest[:2] / digest
    content = blob.read_bytes()
    blob.unlink()
    blob.write_bytes(b"x" * len(content))
    (folder / "source.py").write_text(ECHO_SOURCE.replace("[5, 6]", "[5, 7]"))
    outcome = built()
    assert "python echo" in outcome.ran
    assert (repository(project) / "echo/1000000/model.py").read_bytes() == content


def test_a_failed_build_leaves_the_last_good_tree(project, built):
    folder = echo(project)
    built()
    before = snapshot(repository(project))
    (folder / "source.py").write_text(ECHO_SOURCE + "\nraise ValueError('broken')\n")
    with pytest.raises(BuilderError) as caught:
        built()
    assert "models/echo/source.py:12" in str(caught.value)
    assert snapshot(repository(project)) == before
    assert [p.name for p in repository(project).parent.iterdir() if ".new-" in p.name] == []


def test_one_failure_does_not_hide_another(project, built):
    echo(project, "one", "raise ValueError('first')\n" + ECHO_SOURCE)
    echo(project, "two", "raise ValueError('second')\n" + ECHO_SOURCE)
    with pytest.raises(BuilderError) as caught:
        built()
    assert "first" in str(caught.value)
    assert "second" in str(caught.value)


def test_a_failure_is_not_remembered(project, built):
    folder = echo(project)
    flag = project / "flag"
    reading = f"import pathlib\nif not pathlib.Path({str(flag)!r}).exists(): raise ValueError\n"
    (folder / "source.py").write_text(reading + ECHO_SOURCE)
    with pytest.raises(BuilderError):
        built()
    flag.touch()
    assert built().changed


def test_a_folder_that_is_not_ours_is_never_touched(project, built):
    echo(project)
    folder = repository(project)
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not written by triton-builder") as caught:
        built()
    assert caught.value.found == "thesis.tex"
    assert (folder / "thesis.tex").read_text() == "years of work"


def test_a_manifest_of_somebody_else_does_not_make_a_folder_ours(project, built):
    echo(project)
    folder = repository(project)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(InputError, match="not written by triton-builder"):
        built()
    assert (folder / "manifest.json").exists()


def test_a_manifest_of_another_version_of_ours_is_built_anew(project, built):
    echo(project)
    built()
    file = repository(project) / "manifest.json"
    content = file.read_text()
    file.unlink()
    file.write_text(content.replace('"schema": 1', '"schema": 0'))
    assert built().changed
    assert file.read_text() == content


def test_a_file_where_the_repository_belongs(project, built):
    echo(project)
    repository(project).parent.mkdir()
    repository(project).write_text("a file")
    with pytest.raises(InputError, match="in the way"):
        built()


def test_weights_with_a_wrong_digest(project, built):
    folder = echo(project)
    (folder / "w.bin").write_bytes(b"other weights")
    spec = folder / "model.yaml"
    spec.write_text(spec.read_text() + f"weights: w.bin\nweights_sha256: {'0' * 64}\n")
    with pytest.raises(InputError, match="another digest") as caught:
        built()
    assert caught.value.where == "models/echo/w.bin"
    assert caught.value.expected == "0" * 64


def test_a_manifest_survives_its_own_encoding(project, built):
    echo(project)
    manifest = built().manifest
    assert manifests.decode(manifest.encode(), "here") == manifest
