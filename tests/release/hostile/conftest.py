"""A store, and a repository for it."""

import pytest

from builder.release.store import ReleaseStore
from tests.release.trees import repository


@pytest.fixture
def store(tmp_path):
    return ReleaseStore((tmp_path / "store").as_uri(), create=True)


@pytest.fixture
def first(tmp_path):
    folder = tmp_path / "first"
    repository(folder, {"a": {"1": {"model.onnx": b"a1"}}, "b": {"1": {"model.onnx": b"b1"}}})
    return folder


@pytest.fixture
def second(tmp_path):
    folder = tmp_path / "second"
    repository(folder, {"c": {"1": {"model.onnx": b"c1"}}})
    return folder
