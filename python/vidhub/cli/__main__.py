"""`python -m vidhub.cli` is the `vidhub` command."""

from vidhub.cli import main

main()
