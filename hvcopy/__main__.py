"""``python -m hvcopy`` is the command."""

from hvcopy.cli import main

main()
