"""`python -m builder` is `triton-builder`."""

from builder.cli import main

main()
