"""``python -m ratchet.flows.cli``."""

from ratchet.flows.cli import main

main()
