"""An OCI image layout in a folder, which skopeo, podman, oras and containerd read.

Its form is image-layout.md of OCI's image-spec: blobs by digest, and an `index.json` that gives
tags to some of them. What other tags name is left alone; so is what none names any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import InputError
from builder.files import disk_errors, write_atomically
from builder.release.oci.documents import INDEX, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.release.oci.documents import Document

LAYOUT = "oci-layout"
VERSION = b'{"imageLayoutVersion":"1.0.0"}'
NAME = "org.opencontainers.image.ref.name"


class Folder:
    """A destination on this disk.

    Args:
        path: the folder; it need not be there.

    Raises:
        InputError: something else lies there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._claimed()
        with disk_errors(path):
            (path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        if not (path / LAYOUT).exists():
            write_atomically(path / LAYOUT, VERSION)

    def __str__(self) -> str:
        return str(self._path)

    def has(self, digest: str, size: int) -> bool:
        """Whether a blob is there, whole."""
        try:
            return self._blob(digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def put(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Writes a blob; it has its name when it is whole and on the disk."""
        del size
        target = self._blob(digest)
        with disk_errors(target.parent):
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    for chunk in chunks:
                        file.write(chunk)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).chmod(0o644)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise

    def document(self, document: Document) -> bool:
        """Writes a manifest or an index, if it is not there; whether it was written."""
        if self.has(document.digest, len(document.content)):
            return False
        self.put(document.digest, len(document.content), (document.content,))
        return True

    def tag(self, document: Document, name: str) -> bool:
        """Gives a document a name, and takes it from what had it; whether that was new."""
        own = document.descriptor(annotations={NAME: name})
        self.document(document)
        return self._list(own, lambda entry: entry.get("annotations", {}).get(NAME) == name)

    def refer(self, subject: Document, document: Document) -> bool:
        """Lists a manifest that refers to another; whether that was new."""
        del subject  # the manifest names it
        new = self.document(document)
        own = document.descriptor()
        return self._list(own, lambda entry: entry.get("digest") == own["digest"]) or new

    def _list(self, own: dict[str, Any], replaced: Any) -> bool:
        with self._locked():
            index = self._index()
            entries = [entry for entry in index["manifests"] if not replaced(entry)]
            if own in index["manifests"]:
                return False
            index["manifests"] = [*entries, own]
            write_atomically(self._path / "index.json", encoded(index))
        return True

    def _index(self) -> dict[str, Any]:
        try:
            value = json.loads((self._path / "index.json").read_bytes())
            list(map(dict.keys, value["manifests"]))
        except FileNotFoundError:
            return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        except (ValueError, KeyError, TypeError) as e:
            raise InputError(
                "the OCI layout's index cannot be read",
                where=str(self._path / "index.json"),
                fix="name another folder, or remove this one",
            ) from e
        found: dict[str, Any] = value
        return found

    def _blob(self, digest: str) -> Path:
        return self._path / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _claimed(self) -> None:
        found = None
        if self._path.exists() and not self._path.is_dir():
            found = "a file"
        elif self._path.is_dir() and not (self._path / LAYOUT).is_file():
            names = sorted(p.name for p in self._path.iterdir())
            begun = ("blobs", LAYOUT, f".{LAYOUT}.")  # by another publication, at this very time
            found = ", ".join([n for n in names if not n.startswith(begun)][:5]) or None
        if found:
            raise InputError(
                "this folder is not an OCI image layout",
                where=str(self._path),
                found=found,
                expected=f"nothing, or a folder with a file {LAYOUT}",
                fix="name another folder; nothing was changed",
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two publications into one folder take turns at its index."""
        handle = os.open(self._path / LAYOUT, os.O_RDWR | os.O_CLOEXEC)  # NFS wants to write
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
