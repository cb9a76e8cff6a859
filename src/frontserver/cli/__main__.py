"""`python -m frontserver.cli`."""

from frontserver.cli import main

main()
