"""``ratchet compare A B``: two recipes, algorithms or versions side by side. Registers, promotes and reads no sealed item."""
