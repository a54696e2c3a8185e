"""Which release store a command works on, what it takes of it, and whom it trusts."""

from __future__ import annotations

import asyncio
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from builder.cli import interrupts
from builder.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from builder.release.store import ReleaseStore
    from builder.remote.limits import Limits

T = TypeVar("T")

PATIENCE = 1.5
"""Seconds between an interrupt and the end of all waiting."""

VARIABLE = "TRITON_BUILDER_RELEASE_STORE"

store_option = click.option(
    "--store",
    metavar="URL",
    help="The release store: s3://bucket/prefix, gs://, az://, file:///folder; default: "
    f"${VARIABLE}, then release-store in pyproject.toml, then the project's folder releases/.",
)


def _names(_context: object, _option: object, text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


models_option = click.option(
    "--models",
    metavar="M,…",
    default="",
    callback=_names,
    help="These models only, with the members of their ensembles.",
)
cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="TRITON_BUILDER_PULL_CACHE",
    show_envvar=True,
    help="A folder of files that pods of a node share; default: one beside DIR.",
)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
trust_config_option = click.option(
    "--trust-config",
    type=FILE,
    envvar="TRITON_BUILDER_TRUST_CONFIG",
    show_envvar=True,
    help="Of a Sigstore of one's own, its ClientTrustConfig as JSON; default: the public one.",
)
_trust = (
    click.option(
        "--verify-key",
        type=FILE,
        envvar="TRITON_BUILDER_VERIFY_KEY",
        show_envvar=True,
        help="A public key in PEM; what it did not sign is refused.",
    ),
    click.option(
        "--verify-identity",
        metavar="WHO",
        envvar="TRITON_BUILDER_VERIFY_IDENTITY",
        show_envvar=True,
        help="Who must have signed it at Sigstore.",
    ),
    click.option(
        "--verify-issuer",
        metavar="URL",
        envvar="TRITON_BUILDER_VERIFY_ISSUER",
        show_envvar=True,
        help="Who vouches for that identity.",
    ),
    trust_config_option,
)


def trust_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say who must have signed; the command gets them as `trust`."""

    @functools.wraps(command)
    def trusting(
        *arguments: Any,
        verify_key: Path | None,
        verify_identity: str | None,
        verify_issuer: str | None,
        trust_config: Path | None,
        **options: Any,
    ) -> None:
        from builder.release.trust import Trust

        trust = Trust(verify_key, verify_identity, verify_issuer, trust_config)
        command(*arguments, trust=trust, **options)

    for option in reversed(_trust):
        trusting = option(trusting)
    return trusting


def release_store(
    options: dict[str, Any],
    url: str | None,
    *,
    create: bool = False,
    limits: Limits | None = None,
) -> ReleaseStore:
    """The store that an option, the environment or the project names.

    Raises:
        InputError: none does, or the address is none.
    """
    from builder.release.store import LIMITS, ReleaseStore

    own = url or os.environ.get(VARIABLE)
    try:
        where = own or _projects(options["start"])
        return ReleaseStore(where, create=create, limits=limits or LIMITS)
    except InputError as e:
        e.where = e.where or ("--store" if url else f"${VARIABLE}" if own else "release-store")
        raise


def work(job: Coroutine[Any, Any, T]) -> T:
    """Does something at a release store. An interrupt ends it soon, whatever it waits for.

    Nothing needs more time to end well: it may be killed at any moment.
    """
    interrupts.end_within(PATIENCE)
    return asyncio.run(job)


def _projects(start: Path) -> str:
    from builder.spec.project import find, read_settings

    try:
        root = find(start)
    except InputError as e:
        raise InputError(
            "no release store is named",
            expected="an address like s3://bucket/prefix",
            fix=f"give --store URL, or set ${VARIABLE}; or change into a project",
        ) from e
    return read_settings(root).release_store or (root / "releases").resolve().as_uri()
