"""The repository of a project that was built, and what is in it."""

import hashlib


def repository(project):
    return project / "repository" / "cpu"


def snapshot(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }
