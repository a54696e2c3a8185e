"""Channels move: forward to a release, and back. One mover wins; the other is told."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from builder.errors import InputError, WorkFailedError
from builder.release import channel as channels
from builder.release import layout
from builder.release.channel import Channel, Move

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.release.channel import Action
    from builder.release.store import ReleaseStore

ACTORS = ("TRITON_BUILDER_ACTOR", "GITHUB_ACTOR", "GITLAB_USER_LOGIN")
"""Variables that say whose doing it is, where a machine works for people."""

NAMED = 100
"""Characters of what they say."""


@dataclass(frozen=True)
class Moved:
    """What a move came to.

    Attributes:
        channel: as it stands now.
        before: the release that it was at; None for a new channel.
        changed: False where it was there already.
    """

    channel: Channel
    before: str | None
    changed: bool


async def promote(
    store: ReleaseStore, name: str, release: str, say: Callable[[str], None] = lambda _: None
) -> Moved:
    """Moves a channel to a release; makes it where it is not there.

    Args:
        store: where both are.
        name: the channel.
        release: a release's name or the start of one, or another channel, for what that is at.
        say: told in a line what goes on.

    Raises:
        InputError: there is no such release, or it is for another target.
        WorkFailedError: somebody else moved the channel meanwhile.
    """
    layout.check_channel(name)
    wanted = await store.resolve(release)
    async with store.under_way(wanted, None, say):
        target = (await store.release(wanted)).manifest.target
        found = await store.find_channel(name)
        if found is None:
            new = Channel(name, target, (_move(wanted, "promote"),))
            return await _put(store, new, None, None)
        channel, tag = found
        if channel.target != target:
            raise InputError(
                f"channel {name} is for another target",
                where=store.url,
                found=f"release {wanted[:19]} for target {target}",
                expected=f"a release for target {channel.target}",
                fix=f"promote it to a channel of its own: triton-builder promote {wanted[:19]} "
                f"{name}-{target}",
            )
        if channel.release == wanted:
            return Moved(channel, wanted, changed=False)
        return await _put(store, channel.moved(_move(wanted, "promote")), tag, channel.release)


async def rollback(
    store: ReleaseStore, name: str, to: str | None, say: Callable[[str], None] = lambda _: None
) -> Moved:
    """Moves a channel back.

    Args:
        store: where it is.
        name: the channel.
        to: a release that it was at, or the start of one; None for the one before.
        say: told in a line what goes on.

    Raises:
        InputError: there is nothing to go back to, or what there was is gone.
        WorkFailedError: somebody else moved the channel meanwhile.
    """
    channel, tag = await store.channel(name)
    wanted = channels.back(channel, to and await store.resolve(to))
    async with store.under_way(wanted, None, say):
        await store.release(wanted)  # is it still there, and whole?
        if channel.release == wanted:
            return Moved(channel, wanted, changed=False)
        return await _put(store, channel.moved(_move(wanted, "rollback")), tag, channel.release)


async def _put(store: ReleaseStore, channel: Channel, tag: str | None, before: str | None) -> Moved:
    if await store.put_channel(channel, tag):
        return Moved(channel, before, changed=True)
    now = await store.find_channel(channel.name)
    last = now[0].history[-1] if now else None
    raise WorkFailedError(
        f"somebody else moved channel {channel.name} at the same time",
        where=f"{store.url}/{layout.channel(channel.name)}",
        found=f"{last.release[:19]}, {last.action} by {last.by} at {last.at}" if last else None,
        expected=f"{before[:19]}, as a moment ago" if before else "no channel, as a moment ago",
        fix="nothing was lost: see whether that is what you want, and move it again if not",
    )


def _move(release: str, action: Action) -> Move:
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Move(release, at, actor(), action)


def actor() -> str:
    """Whose doing it is, as far as this machine says."""
    for name in ACTORS:
        if found := _line(os.environ.get(name, "")):
            return found
    try:
        return _line(getpass.getuser()) or f"uid {os.getuid()}"
    except (KeyError, OSError):  # a user without a name, as in many containers
        return f"uid {os.getuid()}"


def _line(text: str) -> str:
    """A text as a channel may hold it: what no terminal can show would make it unreadable."""
    shown = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(shown.split())[:NAMED]
