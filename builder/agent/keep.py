"""Sees that a server serves what lies in DIR, and helps it to: at its start, and ever after.

A model that is not loaded, or does not answer its probe, is loaded anew; again and again, but less
and less often.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from builder.agent.backoff import Backoff
from builder.agent.home import REHEARSAL
from builder.agent.refused import RefusedReleaseError
from builder.agent.tell import short
from builder.agent.tree import ready
from builder.agent.triton import READY, HangingError
from builder.errors import MissingError
from builder.servers.endpoint import RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.agent.memory import Memory
    from builder.agent.switch import Switch
    from builder.agent.tell import Teller
    from builder.agent.tree import Tree
    from builder.agent.triton import Triton


class Keeper:
    """See above.

    Args:
        memory: what is served.
        triton: the server.
        switch: what loads.
        tell: told what happens.
        interval: seconds between looks.
        proving: seconds between askings of all probes; 0 for never without a reason.

    Attributes:
        up: whether the server answered last.
        version: the server's.
        seen: when it did, on the monotonic clock.
        doubt: models that the server may have otherwise than DIR has them.
        wrong: what was found wrong last, by model.
        trouble: why the server cannot be told to load, where it answers.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        memory: Memory,
        triton: Triton,
        switch: Switch,
        tell: Teller,
        *,
        interval: float,
        proving: float,
    ) -> None:
        self._memory = memory
        self._triton = triton
        self._switch = switch
        self._tell = tell
        self._proving = proving
        self._proved = -float("inf")
        self._backoff = Backoff(interval)
        self.up = False
        self.version = ""
        self.seen = time.monotonic()
        self.doubt: set[str] = set()
        self.wrong: Mapping[str, str] = {}
        self.trouble: MissingError | None = None

    def down(self, error: object) -> None:
        """The server does not answer; when it does again, it may be another one."""
        if self.up:
            self._tell.say(f"Triton does not answer: {error}", "server down")
        self.up = self._memory.proven = False

    def proved(self) -> None:
        """All that is served was found right just now."""
        self._proved = time.monotonic()
        self.doubt.clear()
        self.wrong = {}
        self._backoff.reset()

    def ask_soon(self) -> None:
        """Has all probes asked at the next look."""
        self._proved = -float("inf")

    def sound(self, tree: Tree) -> bool:
        """Whether the server serves a tree, the one in DIR, and answers as it says."""
        self.wrong = {}
        index = self._reached()
        if index is None:
            return False
        self.up, self.seen = True, time.monotonic()
        self._forget(index)
        again = {n for n, model in tree.models.items() if ready(index, n) != set(model.versions)}
        self._switch.hanging -= again  # it has ended after all, and not as it should have
        again |= self.doubt & tree.models.keys()
        due = self._proving and self._proved + self._proving < self.seen
        if self._memory.proven and not again and not due:
            return True
        if again and not self._backoff.due():
            return False
        try:
            self.wrong = self._asked(tree, again)
        except UnreachableError as e:
            self.down(e)
            return False
        if self.wrong:
            text = "; ".join(f"{model} {reason}".strip() for model, reason in self.wrong.items())
            said = f"{short(tree.release)} is not served as it should be: {text}"
            self._tell.failed("probe", said, "unsound")
            self._memory.proven = False
            self.doubt = set(self.wrong) & tree.models.keys() or set(tree.models)
            self._backoff.failed()
            return False
        if not self._memory.proven:
            self._tell.say(f"serving {short(tree.release)}", "serving", release=tree.release)
        self._memory.proven = True
        self._memory.served = (tree,)
        self.proved()
        return True

    def _reached(self) -> Mapping[str, Mapping[int, str]] | None:
        """The server's index; None where it does not answer, or cannot be told to load."""
        self.trouble = None
        try:
            index = self._triton.index()
            if not self.up:
                self._triton.check()
                self.version = self._triton.version()
                self._memory.proven = False
        except (UnreachableError, RefusedError, ValueError) as e:
            self.down(e)
            return None
        except MissingError as e:
            self._tell.failed("server", e)
            self.trouble = e
            return None
        return index

    def _asked(self, tree: Tree, again: set[str]) -> Mapping[str, str]:
        try:
            if again:
                self._switch.again(tree, again)
        except RefusedReleaseError as e:
            return {"": e.text}
        return self._switch.wrong(tree, tree.models)

    def _forget(self, index: Mapping[str, Mapping[int, str]]) -> None:
        """Unloads what was rehearsed by an agent that was killed over it."""
        for name, versions in index.items():
            if REHEARSAL in name and READY in versions.values():
                try:
                    self._triton.unload(name)
                except (RefusedError, HangingError, UnreachableError) as e:
                    self._tell.say(f"{name} is not unloaded: {e}")
