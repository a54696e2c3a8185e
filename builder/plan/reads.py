"""How the names of reads begin that are no files, and which files a listing shows.

What follows in a name holds on any machine.
"""

DISTRIBUTION = "distribution:"
"""An installed distribution, by its name: its version counts."""

VARIABLE = "environment:"
"""A variable of the environment: its value counts."""

LISTING = "listing:"
"""A folder of the project: which files it holds counts, not what is in them."""

MODULE = "module:"
"""`models/x/layers`: what an import of `layers` finds in models/x counts, if anything."""

FOREIGN = frozenset({"__pycache__", "node_modules"})
OUTPUT = "repository"
"""The build's own output, at the top of a project: no listing of it is ever the same again."""


def counts(path: str) -> bool:
    """Whether a path below a project is of the user's making: not hidden, bytecode or output."""
    parts = path.split("/")
    return parts[0] != OUTPUT and not any(
        p.startswith(".") or p in FOREIGN or p.endswith(".pyc") for p in parts
    )
