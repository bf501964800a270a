"""Watches training and says when it must end: so far, updates that were not finite."""

from dataclasses import dataclass

MAX_SKIPPED_IN_A_ROW = 3


@dataclass
class Sentinel:
    """State that resumes with the checkpoint."""

    skipped_in_a_row: int = 0

    def observe(self, stepped: int, skipped: int) -> str | None:
        """Note one training step's optimiser steps; returns the reason to stop, if there is one."""
        if skipped:
            self.skipped_in_a_row += 1
        elif stepped:
            self.skipped_in_a_row = 0
        return "nonfinite" if self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW else None
