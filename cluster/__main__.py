"""`python -m cluster` is the `raytide` command."""

from raytide.cli import main

main()
