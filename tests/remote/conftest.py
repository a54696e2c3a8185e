"""Machines, and the stores that they share."""

import pytest

from tests.remote.machines import Machine
from tests.stores import faults


@pytest.fixture
def machine(tmp_path):
    """Makes machines; closes what they opened."""
    machines = []

    def make(url, **options):
        machines.append(Machine(tmp_path / f"machine-{len(machines)}", url, **options))
        return machines[-1]

    yield make
    for one in machines:
        one.remote.close()


@pytest.fixture
def s3_url(s3, monkeypatch):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.bucket()}/some/prefix"


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.live)])
def url(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3_url")
    return f"file://{tmp_path}/shared"


@pytest.fixture
def proxy(s3, s3_url, monkeypatch):
    with faults.before(s3.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
