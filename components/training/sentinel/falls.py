"""Gold on the training prompts, for a cheap suspicion between dev evaluations; dev decides."""

from dataclasses import dataclass, field

import numpy as np

WINDOW, ENOUGH = 20, 10  # steps compared with, and before a step is judged
SLACK, LIMIT = 0.5, 3.0  # in standard deviations: a false suspicion once in some hundred steps
LEAST = 0.01  # deviation of a series that hardly moves


@dataclass
class Falls:
    """A one-sided CUSUM of accuracy against its own last steps. State as JSON."""

    recent: list[float] = field(default_factory=list)
    cusum: float = 0.0

    def observe(self, accuracy: float) -> bool:
        """Note a step's accuracy; whether it has been falling. The count then starts again."""
        if len(self.recent) >= ENOUGH:
            deviation = max(LEAST, float(np.std(self.recent, ddof=1)))
            self.cusum = max(0.0, self.cusum + (float(np.mean(self.recent)) - accuracy) / deviation - SLACK)
        self.recent = [*self.recent, accuracy][-WINDOW:]
        if self.cusum <= LIMIT:
            return False
        self.cusum = 0.0
        return True
