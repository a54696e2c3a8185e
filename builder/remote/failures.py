"""What goes wrong with stores, in words that help.

`object_store` has one kind of error for most of what a store answers, with its XML inside. Here
that is read: what it means, and what whoever sees it can do.
"""

from __future__ import annotations

import os
import re

BEYOND = "status code: 416|Invalid range|range was invalid"
"""What stores say where an object ends before a range begins: HTTP's, a memory's, a folder's."""

MISSING_BUCKET = {"NoSuchBucket", "ContainerNotFound"}
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
NO_BUCKET = "make the bucket, or correct the address"
CREDENTIALS = (
    "check the credentials in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_NAME and _KEY) and that they may list, read "
    "and, unless read-only, write there"
)
FOLDER = "see that the folder can be read and written, and that its disk has room"
NETWORK = "check the network and the endpoint (AWS_ENDPOINT_URL)"
HTTPS = "use https://, or set AWS_ALLOW_HTTP=true (AZURE_, GOOGLE_)"
TRUST = (
    "name the file of the authority that vouches for it in SSL_CERT_FILE, or correct the address"
)
PLAIN = (
    ("builder error", "its endpoint is not https://", HTTPS),
    ("Missing AccessKeyId", "a part of its credentials is missing", CREDENTIALS),
    ("Missing SecretAccessKey", "a part of its credentials is missing", CREDENTIALS),
    ("response body", "its answers break off", NETWORK),
    ("Generic URL error", "its address is none", "correct the address"),
)
"""What errors say, and what that means to whoever reads it."""


class UnusableError(Exception):
    """A store does not answer, or not as it should.

    Attributes:
        reason: what it said or did; no secret in it.
        fix: what its user can do.
    """

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def unusable(error: BaseException) -> UnusableError:
    """What a foreign error says, in a few words, and what to do about it."""
    brief, _, debug = str(error).partition("\n\nDebug source:")
    if "169.254.169.254" in brief or "metadata.google" in brief:  # where clouds keep them
        return UnusableError("there are no credentials for it", CREDENTIALS)
    if folder := _folders_own(brief):
        return folder
    status, code = _status(error), _code(error)
    if status or code:
        said = ": ".join(filter(None, (code, _tag(error, "Message")))) or f"status {status}"
        return _answered(status, code, said)
    for sign, reason, fix in PLAIN:
        if sign in brief:
            return UnusableError(reason, fix)
    return (
        _unanswered(debug)
        if "error sending request" in brief
        else UnusableError(_without_secrets(brief)[:300], NETWORK)
    )


def _folders_own(brief: str) -> UnusableError | None:
    if "Unable to canonicalize" in brief:
        return UnusableError("there is no such folder", "make it, or correct the address")
    system = re.search(r"([^:]+) \(os error \d+\)", brief)
    if system and "error sending request" not in brief:
        return UnusableError(f"its folder fails: {system[1].strip()}", FOLDER)
    return None


def _unanswered(debug: str) -> UnusableError:
    """What kept a request from its answer, as the layers below tell it."""
    refused = re.search(r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)", debug)
    if refused:
        return UnusableError(f"its certificate is not to be trusted ({refused[1]})", TRUST)
    cause = re.search(r'(?:message|error): "([^"]+)"', debug)
    words = cause[1] if cause else "no answer"
    return UnusableError(f"it cannot be reached ({words})", NETWORK)


def _answered(status: str, code: str, said: str) -> UnusableError:
    if code in MISSING_BUCKET:
        return UnusableError(f"it has no such bucket ({said})", NO_BUCKET)
    if code in EXPIRED:
        return UnusableError(f"the credentials have expired ({said})", "get fresh ones")
    if code == "RequestTimeTooSkewed":
        return UnusableError(f"the clocks differ ({said})", "set the clock of this machine")
    if status in {"401", "403"}:
        return UnusableError(f"it refuses the credentials ({said})", CREDENTIALS)
    return UnusableError(f"it fails ({said})", "see what ails it, or wait and try again")


def slow(seconds: float) -> UnusableError:
    """A store that gave no answer in so many seconds."""
    return UnusableError(f"no answer within {seconds:.3g} s", NETWORK)


def of_the_bucket(error: BaseException) -> bool:
    """Whether an answer of "not found" is about the bucket, not about an object in it."""
    return _code(error) in MISSING_BUCKET


def beyond(error: BaseException | None) -> bool:
    """Whether a range was asked for that begins where the object has ended already."""
    return bool(re.search(BEYOND, str(error)))


def _code(error: BaseException) -> str:
    return _tag(error, "Code")


def _tag(error: BaseException, name: str) -> str:
    """A field of the XML that S3, Azure and Google answer errors with; others may hold tokens."""
    found = re.search(f"<{name}>([^<]*)</{name}>", str(error))
    return _without_secrets(found[1].strip().partition("\n")[0]) if found else ""


def _status(error: BaseException | None) -> str:
    found = re.search(r"status code: (\d{3})", str(error))
    return found[1] if found else ""


def _without_secrets(text: str) -> str:
    """A text without the values of variables that hold secrets."""
    for name, value in os.environ.items():
        if len(value) > 7 and re.search("SECRET|TOKEN|PASSWORD|KEY", name):  # noqa: PLR2004
            text = text.replace(value, "…")
    return text
