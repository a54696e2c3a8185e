"""Machines with a local cache and a shared one, and looks into that."""

import hashlib
import os
import stat

from builder.remote.cache import Remote
from builder.remote.limits import Limits

KEY = "ab" * 32
RECORD = b'[{"a": "record"}]'
SHORT = Limits(connect=1, answer=1, floor=64 << 20)
MIDDLE = Limits(answer=3)
LONG = Limits(connect=600, answer=600)
"""With these, only an end that is not the clock's ends a test."""


class Machine:
    """A machine with a local cache and the shared one."""

    def __init__(self, folder, url, **options):
        self.folder = folder
        self.folder.mkdir()
        self.warnings = []
        options = {"read_only": False, **options}
        self.remote = Remote(url, warn=self.warnings.append, **options)

    def place(self, digest):
        return self.folder / digest[:2] / digest

    def has(self, *contents):
        """Puts blobs into the local cache; gives their files by digest."""
        files = {}
        for content in contents:
            digest = hashlib.sha256(content).hexdigest()
            files[digest] = self.place(digest)
            files[digest].parent.mkdir(exist_ok=True)
            files[digest].write_bytes(content)
        return files

    def fetch(self, files):
        return self.remote.fetch({d: p.stat().st_size for d, p in files.items()}, self.place)

    def holds_only(self, arrived):
        """Nothing lies there but these blobs, whole and read-only: no temporary file, no part."""
        files = [p for p in self.folder.rglob("*") if not p.is_dir()]
        for path in files:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
        return {p.name for p in files} == set(arrived)


def at(url):
    """The store itself, for looking and for doing harm."""
    from obstore.store import from_url

    options = {"client_options": {"allow_http": True}} if url.startswith("s3") else {"mkdir": True}
    return from_url(url, **options)


def replace(url, path, content):
    import obstore

    obstore.put(at(url), path, content)


def read(url, path):
    import obstore

    return bytes(obstore.get(at(url), path).bytes())


def names(url):
    import obstore

    return {row["path"] for batch in obstore.list(at(url)) for row in batch}


def some(count, size=1000):
    return [os.urandom(size) for _ in range(count)]


def is_left_out(one, *words):
    """It was given up with one warning of these words, and returns empty from now on."""
    assert not one.remote.alive
    (warning,) = one.warnings
    for word in words:
        assert word in warning
    assert one.remote.records([KEY]) == {}
    assert one.remote.fetch({"00" * 32: 3}, one.place) == set()
    assert not one.remote.push(KEY, RECORD, {})
    assert len(one.warnings) == 1
    return True
