"""Two builds of the shipped project, in two folders, with empty stores, give the same bytes."""

import hashlib

import pytest

from tests.live import project as projects

pytestmark = [pytest.mark.live, pytest.mark.export]


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_cold_builds_are_byte_identical(tmp_path, cache, installation):
    # Side by side, so that it takes half as long; what else differs must not matter.
    builds = []
    for name, jobs, seed in (("one", "1", "0"), ("another/place", "2", "4242")):
        store = tmp_path / f"cache-{jobs}"
        store.mkdir()
        (store / "servers").symlink_to(cache / "servers")
        project = projects.copy(tmp_path / name)
        log = tmp_path / f"{jobs}.log"
        options = ("build", "--no-validate", "--jobs", jobs)
        process = projects.start(project, store, *options, log=log, PYTHONHASHSEED=seed)
        builds.append((process, log, project / "repository" / "cpu"))
    for process, log, _ in builds:
        assert process.wait() == 0, log.read_text()
    one, another = (digests(repository) for *_, repository in builds)
    assert len(one) > 20
    assert one == another
