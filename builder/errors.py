"""The one family of errors that a user meets.

Each says what is wrong, where, what was found, what was expected and how to mend it;
its class decides the exit code. Anything else that reaches the user is a bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BuilderError(Exception):
    """Root of all errors with a message for the user.

    Args:
        problem: one sentence, what is wrong.
        where: the place to look: `models/minilm/model.yaml:12`, or `minilm 1.1, check goldens`.
        found: the offending value.
        expected: what would have been right.
        fix: what to do, as a command or an instruction.
        detail: longer evidence (the tail of a log, a worker's output), printed last.
    """

    exit_code = 1
    printed = False
    """Whether it stands in the one JSON document of its command."""

    def __init__(  # noqa: PLR0913 - the parts of a message, all by name
        self,
        problem: str,
        *,
        where: str | None = None,
        found: object = None,
        expected: object = None,
        fix: str | None = None,
        detail: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where
        self.found = None if found is None else str(found)
        self.expected = None if expected is None else str(expected)
        self.fix = fix
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders whole."""
        return (_rebuild, (type(self), self.as_dict()))

    def as_dict(self) -> dict[str, str | None]:
        """The parts by name, for `--json` and for crossing process borders."""
        names = ("problem", "where", "found", "expected", "fix", "detail")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        head = f"{self.where}: {self.problem}" if self.where else self.problem
        parts = [("found", self.found), ("expected", self.expected), ("fix", self.fix)]
        lines = [head, *(f"  {label + ':':<10}{text}" for label, text in parts if text)]
        if self.detail:
            lines += ["", *(f"  | {line}" for line in self.detail.rstrip().splitlines())]
        return "\n".join(lines)


class WorkFailedError(BuilderError):
    """A stage, a check or a verdict failed. Exit code 1."""

    exit_code = 1


class InputError(BuilderError):
    """The input is wrong: a spec, an option, a source. Exit code 2."""

    exit_code = 2


class MissingError(BuilderError):
    """Something needed is not here: a server, a GPU, a package, the network. Exit code 3."""

    exit_code = 3


def _rebuild(kind: type[BuilderError], parts: dict[str, str]) -> BuilderError:
    return kind(**parts)


class SeveralError(BuilderError):
    """Several mistakes found in one run, so that they can be mended in one go."""

    def __init__(self, errors: tuple[BuilderError, ...]) -> None:
        super().__init__(f"{len(errors)} mistakes")
        self.errors = errors
        codes = {error.exit_code for error in errors}
        self.exit_code = codes.pop() if len(codes) == 1 else 1

    @classmethod
    def of(cls, errors: Sequence[BuilderError]) -> BuilderError:
        """The errors as one; a single one stays itself. Those that hold several are opened."""
        flat: list[BuilderError] = []
        told: list[dict[str, str | None]] = []
        for error in errors:
            for one in error.errors if isinstance(error, SeveralError) else (error,):
                if one.as_dict() not in told:  # two actions may meet one mistake
                    told.append(one.as_dict())
                    flat.append(one)
        return flat[0] if len(flat) == 1 else cls(tuple(flat))

    def __str__(self) -> str:
        return "\n\n".join(str(error) for error in self.errors)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors cross process borders whole."""
        return (SeveralError, (self.errors,))
