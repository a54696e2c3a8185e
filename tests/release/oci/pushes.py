"""A repository that is pushed, and what lies in a registry then."""

import hashlib
import io
import json
import tarfile

from builder.release.oci.push import Options, push
from tests.release.attest.releases import ENCODER, MODELS, release
from tests.release.oci.registry import skopeo

CHANGED = {**MODELS, "encoder": {**ENCODER, "1002000/model.onnx": b"weights of 1.2"}}


class Cpu:
    """A repository, and where it is pushed to."""

    def __init__(self, folder):
        self.folder = folder
        self.manifest = release(folder)
        self.name = "models/" + hashlib.sha256(str(folder).encode()).hexdigest()[:12]

    def push(self, host, **options):
        target = f"{host}/{self.name}:v1"
        return push(self.folder, self.manifest.encode(), target, Options(**options))

    def change(self):
        """Another version of one model comes: another release."""
        self.manifest = release(self.folder, CHANGED)


def at(proxy):
    return f"127.0.0.1:{proxy.port}"


def files(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def copied(tmp_path, source):
    """What skopeo brings back, its layers unpacked one over the other."""
    skopeo("copy", "--src-tls-verify=false", f"docker://{source}", f"dir:{tmp_path / 'copy'}")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    for layer in manifest["layers"]:
        content = (tmp_path / "copy" / layer["digest"].removeprefix("sha256:")).read_bytes()
        assert hashlib.sha256(content).hexdigest() == layer["digest"].removeprefix("sha256:")
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(tmp_path / "unpacked", filter="data")
    return files(tmp_path / "unpacked")


def tags(registry, name):
    try:
        return json.loads(registry.get(f"{name}/tags/list"))["tags"] or []
    except OSError:
        return []
