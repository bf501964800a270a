"""What `ratchet init` writes into a user's project."""
