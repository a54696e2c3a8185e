"""What tests of containers ask besides."""

import json
import time

from tests.projects import ECHO_MODEL

SLOW = ECHO_MODEL.replace(
    "        return [", "        import time; time.sleep(20)\n        return ["
)


def until(done):
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def manifest(project, target="boxed"):
    return json.loads((project / "repository" / target / "manifest.json").read_text())
