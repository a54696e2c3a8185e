"""Whose a container is, where not every process can be seen."""

import os
import subprocess
import sys

import pytest

HIDDEN = """
import os, sys
from builder.servers.containers import owner
subject, me = owner.Owner.read(sys.argv[1]), owner.Owner.me()  # what is imported, is so now
os.setuid(54321)
for pid in (subject.pid, 2**22 + 1):
    one = owner.Owner(me.boot, me.space, pid, subject.started)
    print(one.gone(me, owner._started))
"""


def test_owners_are_read_out_of_what_any_engine_lists():
    from builder.servers.containers.owner import Owner, owners

    mine = Owner("0-f", "pid:[4026531836]", 12, 3456)
    listed = f"""\
a1 map[io.buildah.version:1.28.2 triton-builder.owner:{mine.label} z:1]
b2 map[triton-builder.owner:{mine.label}]
c3 a=b,triton-builder.owner={mine.label},z=1
d4 triton-builder.owner={mine.label}
e5 map[triton-builder.owner:somebody]
f6 other=1
"""
    assert owners(listed) == dict.fromkeys(("a1", "b2", "c3", "d4"), mine)
    assert owners("") == {}


def test_one_whom_proc_does_not_show_is_not_gone():
    """With hidepid, /proc of somebody else's process looks as if there were none."""
    if os.geteuid() != 0:
        pytest.skip("a /proc of our own needs root")
    from builder.servers.containers.owner import Owner

    mount = 'mount -t proc -o hidepid=2 proc /proc && exec "$@"'
    command = [sys.executable, "-c", HIDDEN, Owner.me().label]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", *command],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]
