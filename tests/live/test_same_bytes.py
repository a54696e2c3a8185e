"""The shipped project has the same bytes wherever it is built."""

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


def test_a_cold_build_elsewhere_gives_the_bytes_that_everybody_has(tmp_path, cache, installation):
    """What the user's cache has was built by other tests, or another day; if nothing, now."""
    own = tmp_path / "cache"
    own.mkdir()
    (own / "servers").symlink_to(cache / "servers")
    builds = []
    # side by side, so that it takes half as long; what else differs must not matter
    for name, store, jobs, seed in (("one", cache, "2", "0"), ("another/place", own, "1", "4242")):
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
