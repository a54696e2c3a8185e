"""What `--oci` takes for a registry, and what for a folder."""

from pathlib import Path

import pytest

from builder.errors import InputError
from builder.release.oci.reference import FolderReference, RegistryReference, parse

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "host", "name", "tag", "plain"),
    [
        ("ghcr.io/acme/models:v1", "ghcr.io", "acme/models", "v1", False),
        ("ghcr.io/acme/models", "ghcr.io", "acme/models", None, False),
        ("docker://quay.io/acme/models:v1", "quay.io", "acme/models", "v1", False),
        ("oci://quay.io/acme/models", "quay.io", "acme/models", None, False),
        ("registry:5000/a/b-c.d__e:1", "registry:5000", "a/b-c.d__e", "1", False),
        ("http://registry:5000/models", "registry:5000", "models", None, True),
        ("localhost/models", "localhost", "models", None, True),
        ("localhost:5000/models:v1", "localhost:5000", "models", "v1", True),
        ("127.0.0.1:5000/models", "127.0.0.1:5000", "models", None, True),
        ("[::1]:5000/models", "[::1]:5000", "models", None, True),
        ("https://localhost:5000/models", "localhost:5000", "models", None, False),
        ("localhost.evil.com/models", "localhost.evil.com", "models", None, False),
    ],
)
def test_registries(text, host, name, tag, plain):
    assert parse(text) == RegistryReference(host, name, tag, plain)


@pytest.mark.parametrize(
    ("text", "path", "tag"),
    [
        ("./out", "out", None),
        ("./out:v1", "out", "v1"),
        ("/srv/oci/models:v1.2_3-x", "/srv/oci/models", "v1.2_3-x"),
        ("/srv/a:b/models", "/srv/a:b/models", None),
        ("../out", "../out", None),
        ("oci:out:v1", "out", "v1"),
        ("oci:/srv/out", "/srv/out", None),
    ],
)
def test_folders(text, path, tag):
    assert parse(text) == FolderReference(Path(path), tag)


def test_a_folder_at_home():
    assert parse("~/out").path == Path.home() / "out"


@pytest.mark.parametrize(
    "text",
    ["", "models", "acme/models:v1", "ghcr.io/Acme/models", "ghcr.io/", "ghcr.io/acme/models:",
     "ghcr.io/acme/models:v 1", "ghcr.io/acme//models", "ghcr.io/../models", "ghcr.io/a\n/b",
     "ftp://ghcr.io/acme", "oci:", "ghcr.io/acme/models:" + "x" * 129],
)  # fmt: skip
def test_what_is_neither_is_refused(text):
    with pytest.raises(InputError):
        parse(text)


def test_a_folder_without_a_dot_is_told_how_to_say_it():
    with pytest.raises(InputError, match=r"\./acme/models for a folder"):
        parse("acme/models:v1")


def test_nothing_is_pushed_to_a_digest():
    with pytest.raises(InputError, match="digest"):
        parse(f"ghcr.io/acme/models@{DIGEST}")


def test_a_password_in_a_reference_is_refused_and_not_repeated():
    with pytest.raises(InputError) as refused:
        parse("https://me:hunter2@ghcr.io/acme/models")
    assert "hunter2" not in str(refused.value)
