"""`python -m builder` is `triton-builder`."""

from builder.cli.main import main

main()
