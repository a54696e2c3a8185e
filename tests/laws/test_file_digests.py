"""Digests of files are those of their bytes now, whatever was done to their times."""

import hashlib
import os
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.store.digests import MISSING, SMALL, FileDigests

PLACES = st.sampled_from(["a", "b"])
X, Y = (byte * (SMALL + 1) for byte in (b"x", b"y"))
CONTENTS = st.sampled_from([X, Y, b"small"])
TIMES = st.sampled_from([None, 1])
"""Nanoseconds that a file's time is put to; None leaves it at now."""
STEPS = st.one_of(
    st.tuples(st.sampled_from(["write", "write in place"]), PLACES, CONTENTS, TIMES),
    st.tuples(st.sampled_from(["rename", "link"]), PLACES, PLACES, TIMES),
    st.tuples(st.sampled_from(["remove", "touch", "learn", "save"]), PLACES, st.none(), TIMES),
)


def step(folder, kind, place, what, time):
    """Does something to files that the index is not told of."""
    path = folder / place
    if kind == "write":
        aside = folder / "aside"
        aside.write_bytes(what)
        aside.replace(path)
    elif kind == "write in place":
        path.write_bytes(what)
    elif kind == "rename" and path.exists():
        path = path.rename(folder / what)
    elif kind == "link" and path.exists() and what != place:
        (folder / what).unlink(missing_ok=True)
        os.link(path, folder / what)
    elif kind == "remove":
        path.unlink(missing_ok=True)
    if time is not None and path.exists():
        os.utime(path, ns=(time, time))


def true_digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else MISSING


@given(st.lists(STEPS, max_size=8))
@example([("write", "a", X, 1), ("write in place", "a", Y, 1)])
@example([("write", "a", X, 1), ("write", "a", Y, 1)])
@example([("write", "a", X, 1), ("save", "a", None, None), ("write in place", "a", Y, 1)])
@settings(max_examples=120, deadline=None)
def test_a_digest_is_never_that_of_former_bytes(steps):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digests = FileDigests(folder / "index.json")
        for kind, place, what, time in steps:
            step(folder, kind, place, what, time)
            if kind == "learn":
                digests.learn(folder / place, true_digest(folder / place))
            elif kind == "save":
                digests.save()
                digests = FileDigests(folder / "index.json")
            for asked in ("a", "b"):
                assert digests.of(folder / asked) == true_digest(folder / asked)
