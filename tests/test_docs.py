"""Commands that the documents show are commands: with such options, and so many arguments."""

import re
import shlex
from pathlib import Path

import click
import pytest

from builder.cli.main import cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?:^ {4,}.*\n|^\n)+", re.MULTILINE)
COMMAND = re.compile(r"(?:^|[\s/])triton-builder( +[a-z-][^#|>&)]*)")
LINK = re.compile(r"\]\(([\w./-]+\.md)(#[\w-]+)?\)")


def _commands(page):
    """Command lines of `triton-builder` in a page's indented blocks, joined where they go on."""
    for block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|[\s/])triton-builder((?: +[^#|>&)]+)?)", line)
            if found and re.match(
                r"\s*(\$ |- run: |\w+=\S+ |\.venv/bin/)?.*triton-builder\s+[a-z-]", line
            ):
                yield found[1].strip()


COMMANDS = [(page.name, line) for page in PAGES for line in dict.fromkeys(_commands(page))]


def test_there_are_some():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{p}: {c}" for p, c in COMMANDS])
def test_a_command_that_is_shown_can_be_given(page, line):
    words = [word for word in shlex.split(line) if word not in {"...", "…"}]
    while words and words[0] == "-C":
        words = words[2:]
    with click.Context(cli) as context:
        command = cli.get_command(context, words[0])
        assert command, f"{page}: no command {words[0]}"
        known = {name for param in command.params for name in param.opts}
    for word in words[1:]:
        if word.startswith("-") and len(word) > 1:
            name = word.partition("=")[0]
            assert name in known or name[:2] in known, f"{page}: {words[0]} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text()):
        file = page.parent / target
        assert file.is_file(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor[1:] in slugs, f"{page.name} links to {target}{anchor}"
