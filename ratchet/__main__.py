"""``python -m ratchet``: the command line."""

from ratchet.flows.cli import main

main()
