"""A destination in a registry, over the OCI distribution API 1.1.

A blob is looked for before it is sent, and sent in one request that streams it. Whoever is
hindered sends it from the start, for no registry need remember half of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

from builder.errors import WorkFailedError
from builder.release.oci.documents import INDEX, Document, encoded
from builder.release.oci.http import (
    FAULTS,
    NOT_FOUND,
    REDIRECTIONS,
    TRIES,
    UNAUTHORIZED,
    Client,
    FaultError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from builder.release.oci.http import Answer
    from builder.release.oci.reference import RegistryReference

OK, CREATED, ACCEPTED = 200, 201, 202


class Registry:
    """A repository of a registry.

    Args:
        reference: which.
        say: told of what is tried again.

    Raises:
        MissingError: it cannot be reached, or refuses the credentials. So do all methods.
        WorkFailedError: it refuses or fails otherwise. So do all methods.
        InputError: a file of credentials cannot be read.
    """

    def __init__(self, reference: RegistryReference, say: Callable[[str], None]) -> None:
        self._reference = reference
        self._client = Client(reference, say)
        self._url = f"{self._client.base}/v2/{reference.name}"

    def __str__(self) -> str:
        return str(self._reference)

    def has(self, digest: str, size: int) -> bool:
        """Whether a blob is there; what is redirected to a storage behind the registry is."""
        good = (OK, NOT_FOUND, *REDIRECTIONS)
        answer = self._client.ask("HEAD", f"{self._url}/blobs/{digest}", good)
        length = answer.headers.get("Content-Length")
        there = answer.status == OK and length in {None, str(size)}
        return there or answer.status in REDIRECTIONS

    def put(self, digest: str, size: int, chunks: Iterable[bytes]) -> None:
        """Sends a blob; from the start again where a fault hinders it."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        for tried in range(1, TRIES + 1):
            if tried > 1 and self.has(digest, size):  # only its answer was lost
                return
            began = self._client.ask("POST", f"{self._url}/blobs/uploads/", (ACCEPTED,))
            place = urljoin(f"{self._url}/", began.headers.get("Location", ""))
            try:
                answer = self._client.once("PUT", _for(place, digest), headers, chunks)
            except FaultError as e:
                self._client.wait(tried, str(e))
                continue
            if answer.status == CREATED:
                self._same(answer, digest)
                return
            # an upload that the registry forgot, or whose token ran out, is begun anew
            if answer.status not in {UNAUTHORIZED, NOT_FOUND, *FAULTS} or tried == TRIES:
                raise self._client.refused(answer, f"blob {digest[:19]}")
            if answer.status == UNAUTHORIZED:
                self._client.log_in(answer)
            self._client.wait(tried, answer.said, answer.headers.get("Retry-After", ""))

    def document(self, document: Document) -> bool:
        """Sends a manifest or an index under its digest, if it is not there."""
        return self._name(document, document.digest)

    def tag(self, document: Document, name: str) -> bool:
        """Gives a document a tag."""
        return self._name(document, name)

    def refer(self, subject: Document, document: Document) -> bool:
        """Sends a manifest that refers to another, and sees to it that it is listed there.

        A registry from before OCI 1.1 lists none: the specification gives a tag for that,
        `sha256-<hex>`, whose index the client keeps.
        """
        new = self._name(document, document.digest)
        listing = f"{self._url}/referrers/{subject.digest}"
        if self._client.ask("GET", listing, (OK, NOT_FOUND)).status == OK:
            return new
        return self._list(subject.digest.replace(":", "-"), document.descriptor()) or new

    def _list(self, name: str, own: dict[str, Any]) -> bool:
        url = f"{self._url}/manifests/{name}"
        found = self._client.ask("GET", url, (OK, NOT_FOUND), {"Accept": INDEX}).value()
        manifests = found.get("manifests", []) if isinstance(found, dict) else []
        if own in manifests:
            return False
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*manifests, own]}
        return self._name(Document(INDEX, encoded(index)), name)

    def _name(self, document: Document, name: str) -> bool:
        url = f"{self._url}/manifests/{name}"
        kind = document.media_type
        there = self._client.ask("HEAD", url, (OK, NOT_FOUND), {"Accept": kind})
        if there.status == OK and there.headers.get("Docker-Content-Digest") == document.digest:
            return False
        sent = self._client.ask("PUT", url, (CREATED,), {"Content-Type": kind}, document.content)
        self._same(sent, document.digest)
        return True

    def _same(self, answer: Answer, digest: str) -> None:
        """Checks what a registry says that it stored, where it says so."""
        found = answer.headers.get("Docker-Content-Digest")
        if found and found != digest:
            raise WorkFailedError(
                "the registry stored other bytes than it was sent",
                where=str(self._reference),
                found=found,
                expected=digest,
                fix="publish again; if that repeats, do not trust what lies between",
            )


def _for(place: str, digest: str) -> str:
    """An upload's address, with the digest that ends it."""
    return f"{place}{'&' if '?' in place else '?'}{urlencode({'digest': digest})}"
