"""HTTP as a registry needs it: one request at a time, tried again after faults, by who we are.

`urllib3` does the work. Its exceptions end here: a `FaultError` is worth another try, and what is
not is told to the user. Credentials go to the registry and to the token server that it names, and
nowhere else: no redirection, and no upload to a third host, takes them along.
"""

from __future__ import annotations

import json
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from builder.errors import MissingError, WorkFailedError
from builder.release.oci.credentials import credentials
from builder.release.oci.reference import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from builder.release.oci.reference import RegistryReference

TRIES = 5
PAUSE = 0.25
"""Seconds before the first time again; twice as long before each next one."""

LONGEST_PAUSE = 30.0
CONNECT, ANSWER = 5.0, 300.0
"""Seconds for a connection, and for a registry to store what it was sent."""

FAULTS = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTIONS = frozenset({301, 302, 303, 307, 308})
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
CONNECTIONS = 4
HOPS = 5
LARGEST = 8 << 20
"""Bytes of an answer at most; what we ask for is far smaller."""

AGENT = {"User-Agent": "triton-builder"}
LOG_IN = (
    "docker login {host}, or podman, skopeo or oras login; or name a file in REGISTRY_AUTH_FILE"
)


class FaultError(Exception):
    """What may go well the next time: a connection that broke, a registry that is busy."""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP's.
        headers: case does not matter.
        body: its first bytes.
        by: the authorization that was sent along.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    by: str

    def value(self) -> Any:
        """The body, where it is JSON; else an empty object."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return {}

    @property
    def said(self) -> str:
        """What the registry says is wrong, and the status."""
        found = self.value()
        errors = found.get("errors") if isinstance(found, dict) else None
        words = [
            f"{e.get('code', '')}: {e.get('message', '')}"
            for e in (errors if isinstance(errors, list) else [])
            if isinstance(e, dict)
        ]
        # an answer to HEAD has no body
        words += re.findall(r'\berror="([^"]*)"', self.headers.get("WWW-Authenticate", ""))
        return f"{'; '.join(words)[:300] or 'no reason'} (status {self.status})"


class Client:
    """Requests to one registry.

    Args:
        reference: whom, and for which repository.
        say: told of what is tried again.

    Raises:
        InputError: a file of credentials cannot be read.
        MissingError: `urllib3` is not installed. And by all methods: the registry cannot be
            reached, or refuses the credentials.
    """

    def __init__(self, reference: RegistryReference, say: Callable[[str], None]) -> None:
        self.base = f"{'http' if reference.plain else 'https'}://{reference.endpoint}"
        self._reference = reference
        self._say = say
        self._pool = _pool(self.base)
        self._credentials = credentials(reference)
        self._authorization = ""
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        url: str,
        good: Iterable[int],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """One answer of those that are good, however many tries it takes.

        Raises:
            WorkFailedError: it is another.
        """
        tried, renewed = 1, False
        while True:
            try:
                answer = self.once(method, url, headers or {}, body)
            except FaultError as e:
                self.wait(tried, str(e))
            else:
                if answer.status in good:
                    return answer
                if answer.status == UNAUTHORIZED and not renewed:
                    self.log_in(answer)
                    renewed = True
                    continue
                if answer.status not in FAULTS or tried == TRIES:
                    raise self.refused(answer, f"{method} {urlsplit(url).path}")
                self.wait(tried, answer.said, answer.headers.get("Retry-After", ""))
            tried += 1

    def once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
    ) -> Answer:
        """One request, and the redirections that a GET meets.

        Raises:
            FaultError: it did not come to an answer.
        """
        for _ in range(HOPS):
            by = self._authorization if url.startswith(f"{self.base}/") else ""
            answer = self._exchange(method, url, {**headers, "Authorization": by}, body)
            if answer.status not in REDIRECTIONS or method != "GET":
                return answer
            url = urljoin(url, answer.headers.get("Location", ""))
        raise WorkFailedError("the registry redirects in a circle", where=url)

    def wait(self, tried: int, why: str, least: str = "") -> None:
        """Pauses before the next try.

        Raises:
            MissingError: there is none.
        """
        why = self._credentials.without(why)
        if tried >= TRIES:
            raise MissingError(
                "the registry cannot be reached",
                where=self._reference.host,
                found=f"{why}; {tried} tries",
                fix="check the host's name, the network and HTTPS_PROXY; what was sent stays there",
            )
        pause = max(PAUSE * 2 ** (tried - 1), float(least) if least.isdigit() else 0.0)
        pause = min(pause, LONGEST_PAUSE)
        self._say(f"{self._reference.host}: {why}; again in {pause:g} s")
        time.sleep(pause)

    def log_in(self, answer: Answer) -> None:
        """Gets what the registry wants to see, once for all who wait for it.

        Raises:
            MissingError: there are no credentials, or they are refused.
        """
        with self._lock:
            if self._authorization != answer.by:  # another thread has been there
                return
            challenge = answer.headers.get("WWW-Authenticate", "")
            scheme, _, rest = challenge.partition(" ")
            if scheme.lower() == "bearer":
                found = self._token(dict(re.findall(r'(\w+)="([^"]*)"', rest)))
            else:
                found = self._credentials.basic
            if not found or found == answer.by:
                raise self.refused(answer, "the log-in")
            self._authorization = found

    def refused(self, answer: Answer, what: str) -> MissingError | WorkFailedError:
        """What an answer means to the user."""
        host, found = self._reference.host, self._credentials.without(answer.said)
        if answer.status in {UNAUTHORIZED, FORBIDDEN}:
            known = self._credentials.basic or self._credentials.token
            return MissingError(
                "the registry refuses the credentials" if known else "nobody is logged in there",
                where=str(self._reference),
                found=found,
                expected=f"the right to push to {self._reference.name}",
                fix=LOG_IN.format(host=host),
            )
        if answer.status == NOT_FOUND:
            return WorkFailedError(
                "the registry has no such repository, or none of this API",
                where=str(self._reference),
                found=f"{what}: {found}",
                fix="create the repository first, where the registry wants that",
            )
        problem = "the registry fails" if answer.status in FAULTS else "the registry refuses"
        return WorkFailedError(problem, where=str(self._reference), found=f"{what}: {found}")

    def _token(self, challenge: Mapping[str, str]) -> str:
        """A bearer token, from the server that the registry names."""
        realm = challenge.get("realm", "")
        if urlsplit(realm).scheme != "https" and not self._reference.plain:
            raise WorkFailedError(
                "the registry sends us to log in without TLS",
                where=self._reference.host,
                found=realm or "no address",
                expected="https://…",
                fix="use a registry that keeps passwords from others on the network",
            )
        asked = {"scope": f"repository:{self._reference.name}:pull,push"}
        if "service" in challenge:
            asked["service"] = challenge["service"]
        for tried in range(1, TRIES + 1):
            try:
                answer = self._ask_for_token(realm, asked)
            except FaultError as e:
                self.wait(tried, str(e))
                continue
            if answer.status in FAULTS and tried < TRIES:
                self.wait(tried, answer.said, answer.headers.get("Retry-After", ""))
                continue
            break
        found = answer.value()
        token = (found.get("token") or found.get("access_token")) if isinstance(found, dict) else ""
        if answer.status != 200 or not token:  # noqa: PLR2004 - HTTP's OK
            raise self.refused(answer, f"a token from {urlsplit(realm).netloc}")
        return f"Bearer {token}"

    def _ask_for_token(self, realm: str, asked: Mapping[str, str]) -> Answer:
        own = self._credentials
        if own.token:
            form = {**asked, "grant_type": "refresh_token", "client_id": "triton-builder",
                    "refresh_token": own.token}  # fmt: skip
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return self._exchange("POST", realm, kind, urlencode(form).encode())
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(asked)}"
        return self._exchange("GET", url, {"Authorization": own.basic}, None)

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
    ) -> Answer:
        import urllib3

        sent = {name: value for name, value in headers.items() if value} | AGENT
        try:
            response = self._pool.request(
                method, url, headers=sent, body=body, redirect=False, retries=False,
                preload_content=False,
            )  # fmt: skip
            content = response.read(LARGEST)
            if len(content) == LARGEST:  # there may be more, which nobody wants
                response.close()
            response.release_conn()
        except urllib3.exceptions.SSLError as e:
            raise self._untrusted(e) from e
        except urllib3.exceptions.HTTPError as e:
            raise FaultError(_words(e)) from e
        by = headers.get("Authorization", "")
        return Answer(response.status, response.headers, content, by)

    def _untrusted(self, error: Exception) -> MissingError:
        return MissingError(
            "the registry's TLS is not to be trusted",
            where=self._reference.host,
            found=_words(error),
            fix="name its certificate authority in SSL_CERT_FILE; http://… for one without TLS",
        )


def _pool(base: str) -> Any:
    try:
        import urllib3
    except ImportError as e:
        raise MissingError(
            "a registry needs the package urllib3",
            fix="pip install 'triton-builder[oci]'; a folder needs none: --oci ./FOLDER",
        ) from e
    parts = urlsplit(base)
    settings: dict[str, Any] = {
        "maxsize": CONNECTIONS,
        "timeout": urllib3.Timeout(connect=CONNECT, read=ANSWER),
    }
    proxy = getproxies().get(parts.scheme)
    if proxy and not LOOPBACK.fullmatch(parts.netloc) and not proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy, **settings)
    return urllib3.PoolManager(**settings)


def _words(error: BaseException) -> str:
    """The innermost reason, without addresses of objects."""
    text = str(getattr(error, "reason", None) or error)
    return re.sub(r"<?(\w+\.)*\w+\([^)]*\)( at 0x\w+)?>?: ", "", text)[:300]
