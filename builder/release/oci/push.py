"""A release goes to a destination as OCI: layers first, the tag last.

Until the tag moves, whoever pulls it gets what it named before; and a push that was cut off, done
again, sends what is not there. Every file is held against the manifest when its layer is made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from builder.errors import WorkFailedError
from builder.release.oci import layers
from builder.release.oci.documents import Packed, attachment, documents
from builder.release.oci.folder import Folder
from builder.release.oci.reference import FolderReference, parse
from builder.repository import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from builder.release.oci.documents import Document
    from builder.release.oci.layers import Layer
    from builder.repository.manifest import Manifest

T = TypeVar("T")
R = TypeVar("R")

WIDTH = 4
"""Layers that are hashed, or on their way, at once."""

PATIENCE = 5.0
"""Seconds that the others have to end when one layer has failed."""

WORTH_A_LINE = 1_000_000
"""Bytes of a layer that is worth a line when it goes."""

MODEL_SUFFIX = "-modelpack"
"""What the ModelPack artifact's tag has behind the image's."""


class Destination(Protocol):
    """What keeps blobs and documents by digest, and gives documents names."""

    def has(self, digest: str, size: int) -> bool:
        """Whether a blob is there."""

    def put(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Takes a blob's bytes, which may be asked for more than once."""

    def document(self, document: Document) -> bool:
        """Takes a manifest; whether it was new."""

    def tag(self, document: Document, name: str) -> bool:
        """Gives a document a name; whether that was new."""

    def refer(self, subject: Document, document: Document) -> bool:
        """Takes a manifest that refers to another; whether it was new."""


@dataclass(frozen=True)
class Options:
    """How to push.

    Attributes:
        attached: what is attested of the release, by kind (see `attest.attestations`).
        say: told in a line what goes on.
        total: told how many bytes the layers have.
        moved: told of bytes that went, or were there.
    """

    attached: Mapping[str, bytes] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None
    total: Callable[[int], None] = lambda _: None
    moved: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Pushed:
    """What a push came to.

    Attributes:
        where: the registry's repository or the folder.
        tag: the image's tag there; `MODEL_SUFFIX` behind it names the ModelPack artifact.
        digest: of the index that the tag names: `where@digest` is the same for ever.
        model: digest of the ModelPack artifact.
        layers: how many layers went.
        uploaded: bytes of layers that went.
        size: bytes of all layers.
        new: False where everything was there already, the tag too.
    """

    where: str
    tag: str
    digest: str
    model: str
    layers: int
    uploaded: int
    size: int
    new: bool


def push(repository: Path, content: bytes, target: str, options: Options) -> Pushed:
    """Pushes a release.

    Args:
        repository: the folder with its files; proven, as `publish.proven` sees to.
        content: its manifest's bytes.
        target: where to: see `reference`.
        options: see there.

    Raises:
        InputError: `target` is no reference, or a folder with something else in it.
        WorkFailedError: a file is not as it was built; the registry refuses or fails.
        MissingError: the registry cannot be reached, or refuses the credentials.
    """
    manifest = manifests.decode(content, manifests.FILE)
    release = "sha256:" + hashlib.sha256(content).hexdigest()
    reference = parse(target)
    tag = reference.tag or f"{manifest.target}-{release.removeprefix('sha256:')[:12]}"
    destination: Destination
    if isinstance(reference, FolderReference):
        destination = Folder(reference.path)
    else:
        from builder.release.oci.registry import Registry

        destination = Registry(reference, options.say)
    sending = _Sending(repository, manifest, content, destination, options)
    packed = sending.pack()
    parts = documents(manifest, release, packed)
    sending.send(packed)
    new = [sending.blob(config) for config in parts.configs]
    new += [destination.document(document) for document in parts.manifests]
    new += [destination.document(parts.index)]
    for kind, attested in sorted(options.attached.items()):
        config, blob, referrer = attachment(kind, attested, parts.index)
        new += [sending.blob(config), sending.blob(blob)]
        new += [destination.refer(parts.index, referrer)]
    new += [destination.tag(parts.model, tag + MODEL_SUFFIX), destination.tag(parts.index, tag)]
    return Pushed(
        where=str(reference),
        tag=tag,
        digest=parts.index.digest,
        model=parts.model.digest,
        layers=sending.layers,
        uploaded=sending.uploaded,
        size=sum(layer.size for layer in packed),
        new=any(new),
    )


class _Sending:
    """One push's way through its layers."""

    def __init__(
        self,
        repository: Path,
        manifest: Manifest,
        content: bytes,
        destination: Destination,
        options: Options,
    ) -> None:
        self._repository = repository
        self._plan = layers.plan(manifest, content)
        self._destination = destination
        self._options = options
        self._over = Event()
        self.layers = 0
        self.uploaded = 0

    def pack(self) -> list[Packed]:
        """The layers' digests: their archives are made, and thrown away."""
        total = sum(layers.size(layer) for layer in self._plan)
        self._options.say(f"{len(self._plan)} layers, {total / 1e6:.1f} MB")
        self._options.total(total)
        return self._at_once(self._packed, self._plan)

    def send(self, packed: Iterable[Packed]) -> None:
        """Has every layer there."""
        for went, layer in self._at_once(self._sent, list(zip(self._plan, packed, strict=True))):
            self.layers += went
            self.uploaded += layer.size * went

    def blob(self, document: Document) -> bool:
        """Has a small blob there; whether it went."""
        size = len(document.content)
        if self._destination.has(document.digest, size):
            return False
        self._destination.put(document.digest, size, (document.content,))
        return True

    def _packed(self, layer: Layer) -> Packed:
        hasher = hashlib.sha256()
        for chunk in self._running(layers.stream(layer, self._repository)):
            hasher.update(chunk)
        return Packed(layer.path, layer.kind, f"sha256:{hasher.hexdigest()}", layers.size(layer))

    def _sent(self, pair: tuple[Layer, Packed]) -> tuple[bool, Packed]:
        layer, packed = pair
        if self._destination.has(packed.digest, packed.size):
            self._options.moved(packed.size)
            return False, packed
        if packed.size >= WORTH_A_LINE:
            self._options.say(f"{layer.path}: {packed.size / 1e6:.1f} MB go to {self._destination}")
        archive = _Archive(
            lambda: self._running(layers.stream(layer, self._repository)),
            packed,
            self._options.moved,
        )
        self._destination.put(packed.digest, packed.size, archive)
        return True, packed

    def _running(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same chunks, until another layer fails or somebody interrupts."""
        for chunk in chunks:
            if self._over.is_set():
                raise _OverError
            yield chunk

    def _at_once(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """Several parts of a work side by side; the first that fails ends it.

        Whoever interrupts does not wait for a registry that does not answer: the threads die with
        the program.
        """
        left = list(enumerate(parts))[::-1]
        done: SimpleQueue[tuple[int, R | None, BaseException | None]] = SimpleQueue()

        def take() -> None:
            while left and not self._over.is_set():
                try:
                    place, part = left.pop()
                except IndexError:  # another thread was faster
                    return
                try:
                    done.put((place, work(part), None))
                except BaseException as e:  # noqa: BLE001 - raised where it is waited for
                    done.put((place, None, e))

        threads = [Thread(target=take, daemon=True) for _ in range(min(WIDTH, len(parts)))]
        for thread in threads:
            thread.start()
        found: dict[int, R] = {}
        failed: BaseException | None = None
        try:
            while not failed and len(found) < len(parts):
                place, result, failed = done.get()
                found[place] = cast("R", result)
        finally:
            if failed or len(found) < len(parts):
                self._over.set()
        for thread in threads:
            thread.join(PATIENCE)
        if failed:
            raise failed
        return [found[place] for place in range(len(parts))]


class _OverError(Exception):
    """Nobody waits for this layer any more."""


class _Archive:
    """A layer's bytes, as often as somebody asks for them."""

    def __init__(
        self, read: Callable[[], Iterator[bytes]], packed: Packed, moved: Callable[[int], None]
    ) -> None:
        self._read = read
        self._packed = packed
        self._moved = moved
        self._told = 0

    def __iter__(self) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        done, last = 0, b""
        for chunk in self._read():
            hasher.update(chunk)
            if last:
                yield last
            last = chunk
            done += len(chunk)
            if done > self._told:  # what goes again after a fault has been told of
                self._moved(done - self._told)
                self._told = done
        if f"sha256:{hasher.hexdigest()}" != self._packed.digest:
            raise WorkFailedError(
                "a file changed while it was published",
                where=self._packed.path,
                fix="publish again when no build is running",
            )
        yield last
