"""What a container engine mounts is the repository, ready for Triton, signature and all."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from builder.release.oci.push import Options, push
from tests.release.attest.releases import release, signed

pytest_plugins = ["tests.containers.fixture", "tests.release.oci.fixture"]
pytestmark = pytest.mark.slow


@pytest.fixture
def repository(tmp_path):
    return tmp_path / "cpu"


@pytest.fixture
def manifest(repository):
    return release(repository)


@pytest.fixture
def mounted(engine):
    """Mounts an image, and forgets it afterwards."""
    images = []

    def mount(source, *options):
        image = engine("pull", "--quiet", *options, source).split()[-1]
        images.append(image)
        return Path(engine("image", "mount", image).strip())

    yield mount
    for image in images:
        engine.attempt("image", "umount", image)
        engine.attempt("image", "rm", "--force", image)


def same(one, other):
    return not subprocess.run(["diff", "--recursive", one, other], check=False).returncode


def test_an_image_from_a_registry_mounts_as_the_repository(registry, mounted, repository, manifest):
    target = f"{registry.host}/mounted:v1"
    push(repository, manifest.encode(), target, Options())
    folder = mounted(target, "--tls-verify=false")
    assert same(folder, repository)
    assert {p.stat().st_mode & 0o777 for p in folder.rglob("*")} == {0o644, 0o755}


def test_an_image_from_a_folder_does_too(tmp_path, mounted, repository, manifest):
    push(repository, manifest.encode(), f"{tmp_path / 'layout'}:v1", Options())
    assert same(mounted(f"oci:{tmp_path / 'layout'}:v1"), repository)


def test_the_release_s_signature_holds_for_the_mounted_image(
    tmp_path, mounted, repository, manifest
):
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (tmp_path / "pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    (tmp_path / "sig").write_bytes(signed(manifest, tmp_path / "key"))
    push(repository, manifest.encode(), f"{tmp_path / 'layout'}:v1", Options())
    folder = mounted(f"oci:{tmp_path / 'layout'}:v1")
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", "verify", "key", "--public_key",
         tmp_path / "pub", "--signature", tmp_path / "sig", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
