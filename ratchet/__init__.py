"""The one import package: ``ratchet.flows`` and ``ratchet.components`` are the top-level directories of these names."""
