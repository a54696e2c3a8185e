"""A release that is not to be served, and why."""

from __future__ import annotations


class RefusedReleaseError(Exception):
    """A release failed where it was tried.

    Attributes:
        reason: in a word, as the metrics count it: `pull`, `load`, `hang`, `warm-up`, `probe`,
            `died`.
        text: in a sentence.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def short(message: str, limit: int = 400) -> str:
    """A server's message in one line."""
    text = " ".join(message.split())
    return text if len(text) <= limit else f"{text[:limit]} …"
